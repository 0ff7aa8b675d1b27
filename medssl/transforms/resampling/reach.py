"""Which voxels of the source a map touches.

Plain Python numbers: for 2 or 3 entries, one numpy operation would take longer than this whole function.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

_TINY = 1e-6  # of a voxel: rounding
_FARTHEST = 2.0**31  # voxels from the first one that the compiled loops can address


def box(
    matrix: np.ndarray,
    offset: np.ndarray,
    control: np.ndarray | None,
    size: Sequence[int],
    shape: Sequence[int],
    margin: Sequence[float],
    *,
    reflect: bool = False,
) -> tuple[list[int], list[int]]:
    """The box [low, high) of source voxels that a map can touch, with `margin` per axis around it, inside `shape`.

    `matrix`, `offset` and `control` are those of `warp.Warp`, from a view of `size` to a source of `shape`.

    Raises InputError for a map that is not finite, for which the compiled loops would read outside the array.
    """
    half = [(side - 1) / 2 for side in size]
    moved: tuple[list[float], list[float]] = ([0.0] * len(shape), [0.0] * len(shape))
    if control is not None:
        flat = control.reshape(len(shape), -1)
        moved = flat.min(1).tolist(), flat.max(1).tolist()
    low, high = [], []
    rows = zip(matrix.tolist(), offset.tolist(), shape, margin, *moved, strict=True)
    for row, offset, side, more, least, most in rows:
        centre = sum(a * h for a, h in zip(row, half, strict=True)) + offset
        extent = sum(abs(a) * h for a, h in zip(row, half, strict=True)) + more
        first, last, top = centre - extent + least, centre + extent + most, side - 1
        if not (abs(first) < _FARTHEST and abs(last) < _FARTHEST):  # NaN is not either
            raise InputError(f"the map reads voxels {first} to {last} of an axis: give finite lengths above 0")
        if reflect:
            first, last = min(first, 2 * top + 1 - last), max(last, -1 - first)
        low.append(min(max(math.floor(first + _TINY), 0), top))
        high.append(max(min(max(math.ceil(last - _TINY), 0), top) + 1, low[-1] + 1))
    return low, high


def steps(matrix: np.ndarray) -> list[int]:
    """The whole number of source voxels per output voxel along each axis; 1 for a map that `box` refuses."""
    found = [math.hypot(*row) + _TINY for row in matrix.tolist()]
    return [math.floor(step) if 1 < step < _FARTHEST else 1 for step in found]
