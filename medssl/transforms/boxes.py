"""Random boxes for corruptions. A box is a list of ints: the start along each axis, then the size along each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Range = tuple[float, float]

MARGIN = 3 / 224  # DiRA's blocks stay 3 of 224 pixels away from the border


def nearest(shape: Sequence[int], side: Range) -> list[tuple[int, int]]:
    """Shortest and longest side of a box per axis: fractions `side` of `shape`, rounded, at least 1 voxel."""
    return [(max(round(side[0] * s), 1), max(round(side[1] * s), 1)) for s in shape]


def whole(shape: Sequence[int], side: Range, least: int = 1) -> list[tuple[int, int]]:
    """The same, rounded down (as `64 // 6`), at least `least` voxels."""
    low, high = ([max(int(part * s + 1e-9), least) for s in shape] for part in side)
    return list(zip(low, high, strict=True))


def draw_box(
    rng: np.random.Generator, shape: tuple[int, ...], sides: Sequence[tuple[int, int]], margin: float = MARGIN
) -> list[int]:
    """Draw a box in `shape` with sides in the ranges `sides`, at least `margin` away from the border."""
    size = [int(rng.integers(low, high + 1)) for low, high in sides]
    return moved(rng, shape, [0] * len(shape) + size, margin)


def moved(rng: np.random.Generator, shape: tuple[int, ...], box: list[int], margin: float = MARGIN) -> list[int]:
    """Draw another position for a box of the same size.

    `margin` below 1 is a fraction of each side, else voxels; it is smaller if the box leaves no room for it.
    """
    size, start = box[len(shape) :], []
    for s, b in zip(shape, size, strict=True):
        kept = min(round(margin * s) if margin < 1 else int(margin), (s - b) // 2)
        start.append(int(rng.integers(kept, s - b - kept + 1)))
    return start + size


def within(box: list[int]) -> tuple[slice, ...]:
    """The slices of a box in an array (C,*S)."""
    n = len(box) // 2
    return (slice(None), *(slice(a, a + b) for a, b in zip(box[:n], box[n:], strict=True)))
