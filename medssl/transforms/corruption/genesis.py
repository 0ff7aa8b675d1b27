"""The corruptions of Models Genesis."""

from __future__ import annotations

from medssl.transforms.corruption.base import Corruption
from medssl.transforms.corruption.inpaint import RandInpaintd
from medssl.transforms.corruption.local_shuffle import RandLocalShuffled
from medssl.transforms.corruption.mixtures import RandChaind, RandOneOfd
from medssl.transforms.corruption.outpaint import RandOutpaintd
from medssl.transforms.corruption.remap import RandRemapd


def build(*, prob: float = 1.0, blocks: int = 10_000) -> Corruption:
    """Models Genesis (Zhou et al. 2021, published code): local shuffling, then a Bezier tone curve, then painting.

    Their probabilities are 0.5, 0.9 and 0.9. Painting is either out-painting (0.8), which keeps one window and, each
    with probability 0.95, up to four more, or in-painting (0.2), which erases up to five blocks, each with 0.95. Blocks
    and windows have the published sizes, at least 3 voxels from the border.

    Args:
        prob: probability that any of this is applied.
        blocks: number of shuffled blocks.

    >>> [type(step).__name__ for step in build().steps]
    ['RandLocalShuffled', 'RandRemapd', 'RandOneOfd']
    """
    out, inner = RandOutpaintd(blocks=5, stop=0.05), RandInpaintd(prob=0.95, blocks=5, stop=0.05)
    painting = RandOneOfd([(0.8, out), (0.2, inner)], prob=0.9)
    return RandChaind([RandLocalShuffled(prob=0.5, blocks=blocks), RandRemapd(prob=0.9), painting], prob=prob)
