"""Sizes and positions of windows in voxels, for all crop policies.

`shape` is *S, the spatial shape, in index order; a box is 2n numbers in 0..1, low corner then high corner.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from medssl.types import InputError, Window

Range = tuple[float, float]

TRIES = 10


def draw_size(
    shape: tuple[int, ...], scale: Range, ratio: Range, rng: np.random.Generator, spacing: tuple[float, ...] | None
) -> tuple[int, ...] | None:
    """Draw the size of a window in voxels; None if ten draws do not fit into a 2D image (as published).

    In 3D the tenth draw is always used: sides longer than the volume are cut, and the others are lengthened to keep the
    crop's volume. A near-cubic crop almost never fits into a slab (20 slices of 5 mm), so that slabs would otherwise
    all get the same centre crop.
    """
    step = spacing or (1.0,) * len(shape)
    extent = tuple(n * mm for n, mm in zip(shape, step, strict=True))
    for _ in range(TRIES):
        sides = _draw_sides(extent, scale, ratio, rng)
        size = _voxels(sides, step)
        if all(0 < s <= n for s, n in zip(size, shape, strict=True)):
            return size
    if len(shape) == 2:
        return None
    return tuple(min(max(s, 1), n) for s, n in zip(_voxels(_cut(sides, extent), step), shape, strict=True))


def centre_window(shape: tuple[int, ...], ratio: Range, spacing: tuple[float, ...] | None) -> Window:
    """The largest centred window whose aspect ratio lies in `ratio`."""
    step = spacing or (1.0,) * len(shape)
    extent = [n * mm for n, mm in zip(shape, step, strict=True)]
    lead = _lead_axis(len(shape))
    longest = min(extent[lead], *(ratio[1] * e for e in extent))
    sides = [longest if axis == lead else min(e, longest / ratio[0]) for axis, e in enumerate(extent)]
    size = tuple(min(max(s, 1), n) for s, n in zip(_voxels(sides, step), shape, strict=True))
    return Window(tuple((n - s) // 2 for n, s in zip(shape, size, strict=True)), size)


def start_range(n: int, side: int, low: float, high: float) -> tuple[int, int]:
    """First and last start of a window of `side` voxels on an axis of `n` voxels, for a centre in [low, high] * n.

    >>> start_range(224, 100, 0.25, 0.75)
    (6, 118)
    """
    first, last = (min(max(_floor(n * edge) - side // 2, 0), n - side) for edge in (low, high))
    return first, last


def full_box(dims: int) -> list[float]:
    """The box of the whole array."""
    return [0.0] * dims + [1.0] * dims


def check_range(name: str, pair: Range, largest: float = math.inf) -> None:
    """Raise InputError unless `pair` is 0 < low <= high <= largest."""
    given: Any = pair
    two = list(given) if isinstance(given, list | tuple | np.ndarray) else []
    if not all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in two):
        two = []
    if len(two) != 2 or not 0 < two[0] <= two[1] <= largest:
        raise InputError(f"{name} is {given}: give two numbers, 0 < low <= high <= {largest:g}")


def _floor(position: float) -> int:
    # A box edge stored as i/n may be read back as i - 1e-14; without this, truncation would lose a voxel.
    return int(position + 1e-9)


def _lead_axis(dims: int) -> int:
    """The axis in the numerator of an aspect ratio: width / height in 2D (as published), depth / others in 3D."""
    return 1 if dims == 2 else 0


def _draw_sides(extent: tuple[float, ...], scale: Range, ratio: Range, rng: np.random.Generator) -> list[float]:
    """Sides in mm whose product is a share s of the volume, with lead side / other side = e^a, a ~ U(log ratio)."""
    dims = len(extent)
    volume = math.prod(extent) * rng.uniform(*scale)
    logs = [rng.uniform(math.log(ratio[0]), math.log(ratio[1])) for _ in range(dims - 1)]
    logs.insert(_lead_axis(dims), 0.0)
    lead = volume ** (1 / dims) * math.exp(sum(logs) / dims)
    return [lead * math.exp(-a) for a in logs]


def _voxels(sides: list[float], spacing: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(round(side / mm) for side, mm in zip(sides, spacing, strict=True))


def _cut(sides: list[float], extent: tuple[float, ...]) -> list[float]:
    """Cut sides to the extent, and lengthen the others by a common factor, so that the volume is kept."""
    volume = math.prod(sides)
    cut: set[int] = set()
    while over := {i for i, (s, e) in enumerate(zip(sides, extent, strict=True)) if s > e and i not in cut}:
        cut |= over
        free = [i for i in range(len(sides)) if i not in cut]
        grow = volume / math.prod(extent[i] if i in cut else sides[i] for i in range(len(sides)))
        sides = [extent[i] if i in cut else sides[i] * grow ** (1 / len(free)) for i in range(len(sides))]
    return sides
