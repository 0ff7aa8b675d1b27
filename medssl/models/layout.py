"""How weights lie in memory, which decides how fast convolutions are and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


def channels_last(module: nn.Module, spatial_dims: int) -> None:
    """Put the channels of the 2D convolutions of `module` innermost, in place; its outputs follow.

    A step of MoCo-v2 with the tiny encoder at 64 pixels takes a third less so on one CPU core; tensor cores want it as
    well. In 3D it was not measured, and nothing is changed.
    """
    if spatial_dims == 2:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
