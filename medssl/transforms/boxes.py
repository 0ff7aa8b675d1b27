"""Boxes as corruptions draw them: a list of ints, start along every axis, then size along every axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Range = tuple[float, float]

_MARGIN = 3 / 224  # blocks keep this part of a side away from the border (DiRA: 3 of 224 pixels)


def draw_box(rng: np.random.Generator, shape: tuple[int, ...], side: Range) -> list[int]:
    """Draw a box in `shape` with sides from side[0] to side[1] of it, a margin away from the border."""
    size = [int(rng.integers(max(round(side[0] * s), 1), max(round(side[1] * s), 1) + 1)) for s in shape]
    return moved(rng, shape, [0] * len(shape) + size)


def moved(rng: np.random.Generator, shape: tuple[int, ...], box: list[int]) -> list[int]:
    """Draw another place for a box of the same size."""
    size, start = box[len(shape) :], []
    for s, b in zip(shape, size, strict=True):
        margin = min(round(_MARGIN * s), (s - b) // 2)
        start.append(int(rng.integers(margin, s - b - margin + 1)))
    return start + size


def within(box: list[int]) -> tuple[slice, ...]:
    """Slices of a box in an array (C,*S)."""
    n = len(box) // 2
    return (slice(None), *(slice(a, a + b) for a, b in zip(box[:n], box[n:], strict=True)))
