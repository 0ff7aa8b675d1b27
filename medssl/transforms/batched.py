"""Filters of whole batches on any device, equal to those of `filters` and `noise` on the CPU to 1e-4.

Shapes: x (B,C,*S) float32; the other arguments have one entry per sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import pad

from medssl.transforms.filters import ENTRIES, SQUARES, gaussian
from medssl.transforms.noise import normal_table, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def column(values: Sequence[float], x: Tensor) -> Tensor:
    """One number per sample, as a tensor that broadcasts with x."""
    return torch.tensor(values, dtype=torch.float32, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


def tone(x: Tensor, curves: Sequence[Callable[[np.ndarray], np.ndarray]]) -> Tensor:
    """Clip each sample to [0,1] and map it through its tone curve."""
    tables = torch.as_tensor(np.stack([f(SQUARES) for f in curves]), dtype=torch.float32, device=x.device)
    at = x.flatten(1).clamp(0, 1).sqrt() * (ENTRIES - 1)
    near = at.long().clamp(max=ENTRIES - 2)
    low, high = tables.gather(1, near), tables.gather(1, near + 1)
    return (low + (at - near) * (high - low)).reshape(x.shape)


def blur(x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Gaussian blur of each sample with its own sigma (above 0), in voxels."""
    weights = [gaussian(sigma) for sigma in sigmas]
    radius = max(map(len, weights)) - 1
    sides = torch.stack([pad(torch.from_numpy(w), (0, radius + 1 - len(w))) for w in weights]).to(x.device)
    shape = (-1, *[1] * (x.ndim - 1))
    for axis in range(2, x.ndim):
        index = torch.arange(-radius, x.shape[axis] + radius, device=x.device).clamp(0, x.shape[axis] - 1)
        wide, size = x.index_select(axis, index), x.shape[axis]
        total = sides[:, 0].reshape(shape) * x
        for k in range(1, radius + 1):
            pair = wide.narrow(axis, radius - k, size) + wide.narrow(axis, radius + k, size)
            total = total + sides[:, k].reshape(shape) * pair
        x = total
    return x


def normal(image: Tensor, seed: int) -> Tensor:
    """Noise of unit variance in the shape of `image` (C,*S), the same in each voxel as that of `noise.add_noise`."""
    low, high = (int(word) for word in words(seed))
    counter = torch.arange(image.numel(), device=image.device)
    bits = _mix32(_mix32(counter ^ low) ^ high)
    return torch.from_numpy(normal_table()).to(image.device)[bits >> 20].reshape(image.shape)


def _mix32(state: Tensor) -> Tensor:
    """`noise._mix32` in 64-bit integers."""
    m = ((state ^ (state >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    m = ((m ^ (m >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return m ^ (m >> 16)
