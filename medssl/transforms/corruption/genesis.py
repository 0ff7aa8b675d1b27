"""The distortions of Models Genesis."""

from __future__ import annotations

from medssl.transforms.corruption.base import Corruption
from medssl.transforms.corruption.inpaint import RandInpaintd
from medssl.transforms.corruption.local_shuffle import RandLocalShuffled
from medssl.transforms.corruption.mixtures import RandChaind, RandOneOfd
from medssl.transforms.corruption.outpaint import RandOutpaintd
from medssl.transforms.corruption.remap import RandRemapd


def build(*, prob: float = 1.0, blocks: int = 10_000) -> Corruption:
    """Models Genesis (Zhou et al. 2021, released code): shuffling 0.5, Bezier curve 0.9, painting 0.9, in this order.

    Painting is out-painting in 0.8 and in-painting in 0.2 of the cases; they exclude each other. Out-painting leaves a
    window, and with 0.95 each up to four more; in-painting erases up to five blocks, with 0.95 each. Blocks and windows
    have the released sizes, 3 voxels or more from the border.
    """
    out, inner = RandOutpaintd(blocks=5, stop=0.05), RandInpaintd(prob=0.95, blocks=5, stop=0.05)
    painting = RandOneOfd([(0.8, out), (0.2, inner)], prob=0.9)
    return RandChaind([RandLocalShuffled(prob=0.5, blocks=blocks), RandRemapd(prob=0.9), painting], prob=prob)
