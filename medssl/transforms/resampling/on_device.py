"""Resampling with torch only, on any device: the GPU backend, and a reference for the compiled loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import grid_sample, interpolate

if TYPE_CHECKING:
    from medssl.transforms.resampling.warp import Warp


def warp_torch(
    source: torch.Tensor, w: Warp, *, order: Literal[0, 1] = 1, fill: Literal["edge", "reflect"] = "edge"
) -> torch.Tensor:
    """Sample with torch only (upsampling of the grid and grid_sample): the GPU backend, and a reference for `warp`.

    `source` (C,*S) float32 on any device -> (C,*size).
    """
    device = source.device
    axes = [torch.arange(s, dtype=torch.float32, device=device) for s in w.size]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    position = index @ torch.as_tensor(w.matrix.T, dtype=torch.float32, device=device)
    position = position + torch.as_tensor(w.offset, dtype=torch.float32, device=device)
    if w.control is not None:
        mode = "bilinear" if len(w.size) == 2 else "trilinear"
        control = torch.as_tensor(w.control, dtype=torch.float32, device=device)[None]
        position = position + interpolate(control, w.size, mode=mode, align_corners=True)[0].movedim(0, -1)
    extent = torch.tensor(source.shape[1:], dtype=torch.float32, device=device)
    unit = (position + 0.5) / extent * 2 - 1
    padding = "reflection" if fill == "reflect" else "border"
    how = "bilinear" if order == 1 else "nearest"
    return grid_sample(source[None], unit.flip(-1)[None], mode=how, padding_mode=padding, align_corners=False)[0]
