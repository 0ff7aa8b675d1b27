"""Make tilted and uneven stacks straight and even: shift slices in their plane, then interpolate between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medssl.data.read.dicom_stack import Stack


def straighten(planes: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Slices (Z,Y,X) interpolated linearly to a straight and even grid, and its affine; integers stay integers.

    The grid contains all slices, so it is larger in plane if the gantry was tilted; what no slice covers gets
    the lowest value.
    """
    whole, fill = planes.dtype.kind in "iu", planes.min()
    affine = stack.affine.copy()
    found = planes
    if stack.shifts.any():
        found, start = _shifted(found, stack.shifts / stack.spacing, fill)
        affine[:3, 3] += affine[:3, 1:3] @ start
    if stack.even:
        found = _between(found, stack.heights, stack.even)
    return (np.rint(found).astype(planes.dtype) if whole else found.astype(np.float32)), affine


def _shifted(planes: np.ndarray, shifts: np.ndarray, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Slices moved by `shifts` (pixels along y and x) to where they belong, and the position of the new first pixel."""
    from scipy import ndimage

    start = shifts.min(0)
    size = planes.shape[1:] + np.ceil(shifts.max(0) - start - 1e-6).astype(int)
    moved = np.empty((len(planes), *size), np.float32)
    for plane, shift, out in zip(planes, shifts, moved, strict=True):
        ndimage.affine_transform(
            plane.astype(np.float32), [1.0, 1.0], start - shift, tuple(size), out, order=1, cval=float(fill)
        )
    return moved, start


def _between(planes: np.ndarray, heights: np.ndarray, count: int) -> np.ndarray:
    """`count` slices at even heights from the first to the last."""
    wanted = np.linspace(0, heights[-1], count)
    below = np.clip(np.searchsorted(heights, wanted, side="right") - 1, 0, len(heights) - 2)
    share = ((wanted - heights[below]) / (heights[below + 1] - heights[below])).astype(np.float32)
    found = np.empty((count, *planes.shape[1:]), np.float32)
    for number, (lower, part) in enumerate(zip(below, share, strict=True)):
        found[number] = (1 - part) * planes[lower] + part * planes[lower + 1]
    return found
