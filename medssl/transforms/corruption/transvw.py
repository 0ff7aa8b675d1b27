"""TransVW's mixture of corruptions."""

from __future__ import annotations

from medssl.transforms.corruption.base import Corruption
from medssl.transforms.corruption.inpaint import RandInpaintd
from medssl.transforms.corruption.local_shuffle import RandLocalShuffled
from medssl.transforms.corruption.mixtures import RandOneOfd
from medssl.transforms.corruption.outpaint import RandOutpaintd
from medssl.transforms.corruption.remap import RandRemapd


def build(*, prob: float = 1.0, blocks: int = 100) -> Corruption:
    """TransVW's mixture (Haghighi et al. 2021, published code): one of four corruptions, a quarter each.

    They are local shuffling, a Bezier tone curve (inverted half of the time), in-painting and out-painting. TransVW's
    elastic deformation is geometry, and therefore part of the warp.

    Args:
        prob: factor on all probabilities.
        blocks: number of shuffled blocks: 5 in TransVW's published code, which `views.faithful` uses, 100 in
            StepwisePretraining (Guo et al. 2022).

    >>> [type(choice).__name__ for choice in build().choices]
    ['RandLocalShuffled', 'RandRemapd', 'RandInpaintd', 'RandOutpaintd']
    """
    four = [RandLocalShuffled(blocks=blocks), RandRemapd(), RandInpaintd(), RandOutpaintd()]
    return RandOneOfd([(0.25, corruption) for corruption in four], prob=prob)
