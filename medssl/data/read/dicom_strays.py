"""Slices that do not belong to the volume of their series, and what is left of a stack with gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.read.dicom_stack import ROUNDING, UNEVEN, heights_of, order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.read.dicom_header import Slice

FAR = 5.0  # slice distances after which slices are strays,
FEW = 0.2  # if they are at most this share of all, or one
SAME = 0.005  # mm: slices that are nearer are at one position


def without_strays(slices: Sequence[Slice]) -> tuple[list[Slice], list[tuple[Slice, str]]]:
    """The slices that lie together in order, and a few that do not, with where they are.

    Strays lie far along the stack, as a scout in the series does, or beside it. Which of two slices at one position is
    the stray cannot be told: these are kept, and make `place` refuse the stack.
    """
    ordered, strays = order(slices), list[tuple["Slice", str]]()
    for find in (_far, _beside):
        lost = find(ordered) if len(ordered) >= 4 else {}
        if len(lost) <= max(1, FEW * len(ordered)) and len(ordered) - len(lost) >= 3:
            strays += [(ordered[n], where) for n, where in lost.items()]
            ordered = [item for n, item in enumerate(ordered) if n not in lost]
    return ordered, strays


def _far(ordered: Sequence[Slice]) -> dict[int, str]:
    heights = heights_of(ordered)
    gaps = np.diff(heights)
    if np.median(gaps) <= 0:
        return {}
    parts = np.split(np.arange(len(ordered)), np.flatnonzero(gaps > FAR * np.median(gaps)) + 1)
    main = max(parts, key=len)
    low, high = heights[main[0]], heights[main[-1]]
    away = {int(n): max(low - heights[n], heights[n] - high) for part in parts if part is not main for n in part}
    return {n: f"{mm:.4g} mm from the {len(main)} others" for n, mm in away.items()}


def _beside(ordered: Sequence[Slice]) -> dict[int, str]:
    """Slices off the straight line, tilted or not, on which most lie."""
    heights, first = heights_of(ordered), ordered[0]
    gaps = np.diff(heights)
    if not (gaps > SAME).any():
        return {}
    shifts = np.array([item.position for item in ordered]) @ np.stack([first.column, first.row], axis=1)
    slope = np.median(np.diff(shifts, axis=0)[gaps > SAME] / gaps[gaps > SAME, None], axis=0)
    rest = shifts - np.outer(heights, slope)
    off = np.linalg.norm(rest - np.median(rest, axis=0), axis=1)
    return {
        int(n): f"{off[n]:.4g} mm beside the others" for n in np.flatnonzero(off > max(np.median(gaps) / 2, ROUNDING))
    }


def largest_block(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    """The longest run of ordered slices that are evenly apart (of equal ones the first), and the other slices."""
    gaps = np.diff(heights_of(slices))
    best = (0, 0)
    for start in range(len(gaps)):
        stop = start
        while stop < len(gaps) and abs(gaps[stop] - gaps[start]) <= max(UNEVEN * gaps[start], ROUNDING):
            stop += 1
        best = max(best, (start, stop), key=lambda run: run[1] - run[0])
    inside = range(best[0], best[1] + 1)
    return [slices[n] for n in inside], [item for n, item in enumerate(slices) if n not in inside]
