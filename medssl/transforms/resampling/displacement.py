"""The parts of a map: elastic displacements (cubic B-splines of a few points, or TransVW's) and rotations."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_CELLS, _FINE = 4, 4  # B-spline cells along the longest side of a view; linear pieces per cell
_ALPHA, _SIGMA, _REACH = (
    991.0,
    8.0,
    32,
)  # of TransVW's published code: gain, standard deviation in voxels, radius of the filter
_STEEPEST = 0.5  # mm of displacement per mm: lengths change by at most half, so that the map cannot fold


def draw_elastic(rng: np.random.Generator, extent: np.ndarray, mean: float) -> tuple[np.ndarray, float]:
    """Draw a displacement over a view of `extent` mm per axis (0 for an axis of one voxel; at least one is not 0).

    Returns B-spline coefficients (n,*g) of a field of mean length 1 mm, and the mean length in mm to scale it to. This
    is `mean`, or less if the map would fold: the steepest change is kept under 0.5 mm per mm, which allows about 3% of
    the longest side. A cell is as long as a quarter of that side, or up to twice as long. A view thinner than one cell
    is deformed in plane only, since the same displacement across it would be far steeper.
    """
    n = len(extent)
    cells = np.floor(_CELLS * extent / extent.max() + 1e-6).astype(int)
    coefficients = rng.standard_normal((n, *np.where(cells, cells + 3, 1)))
    coefficients[cells == 0] = 0
    field = evaluate(coefficients)
    gaps = np.array([extent[j] / (cells[j] * _FINE) if cells[j] else np.inf for j in range(n)])
    flat = (slice(None), *[None] * (3 - n))  # 2D is of thickness one
    length, steepest = _measures(field[flat], np.concatenate([np.full(3 - n, np.inf), gaps]))
    return coefficients / length, min(mean, _STEEPEST * length / steepest)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _measures(field: np.ndarray, gaps: np.ndarray) -> tuple[float, float]:
    """Mean length of a field (n,Z,Y,X) and its steepest change, of points `gaps` (3,) apart.

    The mean is of cell centres, as the integral's: that of the nodes would weigh the border twice. The change is taken
    from the lower corner of each cell.
    """
    n, (Z, Y, X) = len(field), field.shape[1:]
    total, steepest = 0.0, 0.0
    depth, height, width = max(Z - 1, 1), max(Y - 1, 1), max(X - 1, 1)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                above, below, right = min(z + 1, Z - 1), min(y + 1, Y - 1), min(x + 1, X - 1)
                square, slope = 0.0, 0.0
                for i in range(n):
                    f = field[i]
                    here = f[z, y, x]
                    slope += ((f[above, y, x] - here) / gaps[0]) ** 2
                    slope += ((f[z, below, x] - here) / gaps[1]) ** 2
                    slope += ((f[z, y, right] - here) / gaps[2]) ** 2
                    near = (here + f[z, below, x]) + (f[z, y, right] + f[z, below, right])
                    far = (f[above, y, x] + f[above, below, x]) + (f[above, y, right] + f[above, below, right])
                    square += ((near + far) / 8) ** 2
                total += np.sqrt(square)
                steepest = max(steepest, slope)
    return total / (depth * height * width), np.sqrt(steepest)


def draw_transvw(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Draw TransVW's deformation (Haghighi et al. 2021, published code) of a view of `size` (Z,Y,X).

    Uniform noise in (-1,1) at every voxel of the view is smoothed by a Gaussian of 8 voxels along all axes and
    multiplied by 991, separately for the last two axes; nothing moves along the first. Returns the displacement
    (3,*g) in voxels of the view, at points at most two voxels apart, including the corners. It is about 4 voxels long
    on average at 32 x 64 x 64. Steep draws fold in places, as in the published code.
    """
    smooth = rng.uniform(-1, 1, (2, *size))
    for side in size:  # contract the first spatial axis, and put it last
        smooth = np.moveaxis(smooth, 1, -1) @ _gaussian(side).T
    return np.concatenate([np.zeros_like(smooth[:1]), _ALPHA * smooth])


@cache
def _gaussian(side: int) -> np.ndarray:
    """Weights (points, voxels) of the smoothing along an axis of `side` voxels."""
    weights = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _SIGMA) ** 2)
    distance = np.linspace(0, side - 1, side // 2 + 2)[:, None] - np.arange(side)
    return np.where(np.abs(distance) <= _REACH, np.exp(-0.5 * (distance / _SIGMA) ** 2), 0) / weights.sum()


@cache
def _basis(coefficients: int) -> np.ndarray:
    """Values (fine points, coefficients) of the cubic B-splines along one axis; of one coefficient, a constant."""
    if coefficients == 1:
        return np.ones((2, 1))
    cells = coefficients - 3
    t = np.linspace(0, cells, cells * _FINE + 1)
    distance = np.abs(t[:, None] + 1 - np.arange(coefficients))
    inner, outer = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, inner, outer)


def evaluate(coefficients: np.ndarray) -> np.ndarray:
    """Evaluate coefficients (n,*g) on the fine grid, four linear pieces per cell -> (n,*f)."""
    for _ in coefficients.shape[1:]:  # contract the first spatial axis, and put it last
        coefficients = coefficients.transpose(0, *range(2, coefficients.ndim), 1) @ _basis(coefficients.shape[1]).T
    return coefficients


def rotation(angles: Sequence[float], n: int) -> np.ndarray:
    """Rotation matrix (n,n), index order, of `angles` in degrees: in the plane (2D) or about each axis in turn (3D)."""
    turns = [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in angles]
    if n == 2:
        c, s = turns[0] if turns else (1.0, 0.0)
        return np.array([[c, -s], [s, c]])
    result = np.eye(n)
    for (c, s), (a, b) in zip(turns, [(1, 2), (0, 2), (0, 1)], strict=False):
        step = np.eye(n)
        step[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
        result = result @ step
    return result
