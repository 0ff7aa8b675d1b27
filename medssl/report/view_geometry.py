"""Where a view lies in its source: its outline after rotation, zoom and elastic, and the slices shown of it.

Positions are voxels in index order. A view is a warped box; its outline on a slice of the source is found by computing
for each point of that slice which voxel of the view it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from medssl.transforms.resampling.warp import compose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.cache import Case
    from medssl.transforms.resampling.warp import Warp
    from medssl.types import View

POINTS = 96  # per side, at which an outline is sampled
ROUNDS = 20  # of the inversion; the elastic part changes lengths by at most half, so each round halves the error


class ViewGeometry(NamedTuple):
    """The map of a view, and the slice shown across each axis (voxels of the view; meaningless in 2D)."""

    map: Warp
    cuts: tuple[int, ...]


class Outline(NamedTuple):
    """Closed lines (K,2), rows and columns of the source; `meets`: whether they lie on the requested slice."""

    lines: list[np.ndarray]
    meets: bool


def geometry(view: View, case: Case) -> ViewGeometry:
    """The geometry of a view, with the slices that show its corruption, or the middle ones if there is none."""
    map_ = compose(view.window, tuple(view.x.shape[1:]), case.spacing, **view.drawn["warp"])
    return ViewGeometry(map_, most_changed_slice(view.seen - view.target, view.mask))


def most_changed_slice(change: np.ndarray, mask: np.ndarray) -> tuple[int, ...]:
    """The slice across each axis that best shows a `change` (C,*S) of the voxels in `mask` (1,*S).

    It should show much change and also enough unchanged voxels to compare with: the largest absolute sum, except in a
    slice that changed everywhere. Of slices with at least half of that, the one nearest to the middle is taken.
    """
    changed, share = np.abs(change * mask).sum(0, dtype=np.float64), mask[0].astype(np.float64)
    found = []
    for axis, size in enumerate(share.shape):
        others = tuple(i for i in range(share.ndim) if i != axis)
        score = changed.sum(others) * (1 - share.mean(others))
        good = np.flatnonzero(score >= score.max() / 2)
        found.append(int(good[np.abs(good - size // 2).argmin()]))
    return tuple(found)


def source_cuts(where: ViewGeometry, shape: Sequence[int]) -> tuple[int, ...]:
    """The slices of a source of `shape` (*S) through the middle of the slices shown of the view."""
    found = []
    for axis, cut in enumerate(where.cuts):
        index = (np.asarray(where.map.size) - 1.0) / 2
        index[axis] = cut
        at = round(float(position(where.map, index[:, None])[axis, 0]))
        found.append(min(max(at, 0), shape[axis] - 1))
    return tuple(found)


def outline(where: ViewGeometry, axis: int, at: int) -> Outline:
    """The outline of the view on slice `at` of the source across `axis`; if they do not intersect, that at its middle.

    In 2D both are ignored.
    """
    lines = _border(where.map, axis, at)
    if lines:
        return Outline(lines, True)
    middle = position(where.map, (np.asarray(where.map.size)[:, None] - 1.0) / 2)
    return Outline(_border(where.map, axis, float(middle[axis, 0])), False)


def cut_lines(where: ViewGeometry, axis: int, at: int) -> list[np.ndarray]:
    """The lines (K,2) on slice `at` across `axis` along which the view is cut across the two other axes."""
    steps, index = _indices(where.map, axis, at)
    outside = _depth(where.map, index) < 0
    return [
        line
        for other in range(3)
        if other != axis
        for line in _level(steps, np.where(outside, np.nan, index[other] - where.cuts[other]))
    ]


def position(map_: Warp, index: np.ndarray) -> np.ndarray:
    """Positions (n,K) in the source of voxels `index` (n,K) of the view."""
    found = map_.matrix @ index + map_.offset[:, None]
    return found if map_.control is None else found + _displacement(map_, index)


def inverse(map_: Warp, points: np.ndarray) -> np.ndarray:
    """Voxels (n,K) of the view at `points` (n,K) of the source, also outside the view."""
    back, straight = np.linalg.inv(map_.matrix), points - map_.offset[:, None]
    index = back @ straight
    for _ in range(0 if map_.control is None else ROUNDS):
        index = back @ (straight - _displacement(map_, index))
    return index


def _displacement(map_: Warp, index: np.ndarray) -> np.ndarray:
    assert map_.control is not None
    gaps, last = np.asarray(map_.control.shape[1:]) - 1, np.maximum(np.asarray(map_.size) - 1, 1)
    at = index * (gaps / last)[:, None]
    return np.stack([ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in map_.control])


def _border(map_: Warp, axis: int, at: float) -> list[np.ndarray]:
    steps, index = _indices(map_, axis, at)
    return _level(steps, _depth(map_, index))


def _indices(map_: Warp, axis: int, at: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows and columns around the view on a slice of the source, and the voxels of the view there: (n,rows,columns)."""
    size = np.asarray(map_.size)
    reach = 1.03 * np.abs(map_.matrix) @ size / 2  # slightly larger, so that outlines close
    if map_.control is not None:
        reach = reach + np.abs(map_.control).reshape(len(size), -1).max(1)
    middle = map_.matrix @ ((size - 1) / 2) + map_.offset
    seen = [i for i in range(len(size)) if len(size) == 2 or i != axis]
    steps = [np.linspace(middle[i] - reach[i], middle[i] + reach[i], POINTS) for i in seen]
    points = np.full((len(size), POINTS, POINTS), float(at))
    points[seen] = np.meshgrid(*steps, indexing="ij")
    return steps, inverse(map_, points.reshape(len(size), -1)).reshape(points.shape)


def _depth(map_: Warp, index: np.ndarray) -> np.ndarray:
    """How many voxels `index` (n,...) lies inside the faces of the view: (...), negative outside."""
    size = np.reshape(map_.size, (-1, *[1] * (index.ndim - 1)))
    return np.minimum(index + 0.5, size - 0.5 - index).min(0)


def _level(steps: list[np.ndarray], field: np.ndarray) -> list[np.ndarray]:
    """The lines (K,2) where the field is 0, in rows and columns of the source."""
    from skimage.measure import find_contours

    numbers = np.arange(POINTS)
    lines = find_contours(field, 0.0)
    return [np.stack([np.interp(line[:, i], numbers, steps[i]) for i in (0, 1)], 1) for line in lines]
