"""TransVW's perturbations."""

from __future__ import annotations

from medssl.transforms.corruption.base import Corruption
from medssl.transforms.corruption.inpaint import RandInpaintd
from medssl.transforms.corruption.local_shuffle import RandLocalShuffled
from medssl.transforms.corruption.mixtures import RandOneOfd
from medssl.transforms.corruption.outpaint import RandOutpaintd
from medssl.transforms.corruption.remap import RandRemapd


def build(*, prob: float = 1.0, blocks: int = 100) -> Corruption:
    """TransVW's perturbations (Haghighi et al. 2021, released code): one of four, a quarter each.

    Local shuffling, a Bezier tone curve (inverted half of the time), in-painting, out-painting. `blocks` are shuffled:
    TransVW's releases have 5, which `views.faithful` takes; 100 are those of StepwisePretraining (Guo et al. 2022).
    Its elastic deformation is geometry, and so belongs to the warp.
    """
    four = [RandLocalShuffled(blocks=blocks), RandRemapd(), RandInpaintd(), RandOutpaintd()]
    return RandOneOfd([(0.25, corruption) for corruption in four], prob=prob)
