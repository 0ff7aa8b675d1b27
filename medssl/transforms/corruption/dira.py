"""DiRA's mixture of corruptions."""

from __future__ import annotations

from medssl.transforms.boxes import MARGIN
from medssl.transforms.corruption.base import Corruption
from medssl.transforms.corruption.cutout import RandCutoutd
from medssl.transforms.corruption.mixtures import RandOneOfd
from medssl.transforms.corruption.outpaint import RandOutpaintd
from medssl.transforms.corruption.patch_swap import RandPatchSwapd


def build(*, spatial_dims: int, prob: float = 1.0) -> Corruption:
    """DiRA's mixture (Haghighi et al. 2022, published code): one of three corruptions, or none with probability 0.35.

    Inner cut-out (probability 0.30; up to 10 zero blocks with sides 10..70 of 224 pixels), outer cut-out (0.05; zero
    outside up to 10 windows with sides 154..174), patch swap (0.30; 10 swaps, sides 10..15). In 2D at 224 pixels these
    are the published numbers; they scale with the view size. For 3D nothing was published: fractions of a side are
    raised to the power 2/3, so that a block takes the same share of the volume as of the area in 2D.

    Args:
        spatial_dims: supplied by medssl: 2 or 3.
        prob: factor on all probabilities.

    >>> import numpy as np
    >>> mixture = build(spatial_dims=2)
    >>> drawn = [mixture.draw(np.random.default_rng(seed), (1, 64, 64)) for seed in range(1000)]
    >>> 0.3 < sum(one is None for one in drawn) / 1000 < 0.4
    True
    """

    def part(low: int, high: int) -> tuple[float, float]:
        return (low / 224) ** (2 / spatial_dims), (high / 224) ** (2 / spatial_dims)

    return RandOneOfd(
        [
            (0.30, RandCutoutd(side=part(10, 70))),
            (0.05, RandOutpaintd(blocks=10, side=part(154, 174), fill=0.0, margin=MARGIN)),
            (0.30, RandPatchSwapd(side=part(10, 15))),
        ],
        prob=prob,
    )
