"""DiRA's distortion."""

from __future__ import annotations

from medssl.transforms.boxes import MARGIN
from medssl.transforms.corruption.base import Corruption
from medssl.transforms.corruption.cutout import RandCutoutd
from medssl.transforms.corruption.mixtures import RandOneOfd
from medssl.transforms.corruption.outpaint import RandOutpaintd
from medssl.transforms.corruption.patch_swap import RandPatchSwapd


def build(*, spatial_dims: int, prob: float = 1.0) -> Corruption:
    """DiRA's distortion (Haghighi et al. 2022, released code): r uniform in [0,1).

    Inner cut-out (r <= 0.30; up to 10 zero blocks, sides 10..70 of 224 pixels), outer cut-out (to 0.35; all zero but up
    to 10 windows of side 154..174), patch swap (to 0.65; 10 swaps, sides 10..15), else none. In 2D at 224 the numbers
    are the release's; other sizes scale them. In 3D, never released, parts of a side are raised to 2/3, so that the
    smallest and the largest block take the part of the volume that they take of the area in 2D.
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
