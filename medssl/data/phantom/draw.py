"""Building blocks of phantoms: coordinates from -1 to 1 along each axis, ellipsoids and smooth noise.

In 3D the axes grow toward Superior, Anterior, Right; in 2D downward and to the right.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Grid = tuple[np.ndarray, ...]


def grid(size: tuple[int, ...]) -> Grid:
    """Open coordinate axes in -1..1 of an array of that size."""
    return np.ix_(*[np.linspace(-1, 1, n, dtype=np.float32) if n > 1 else np.zeros(1, np.float32) for n in size])


def inside(at: Grid, centre: tuple[float, ...], radius: tuple[float, ...]) -> np.ndarray:
    """1 minus the normalised distance from the centre of an ellipsoid: positive inside, 0 on the surface."""
    squares = [((x - c) / r) ** 2 for x, c, r in zip(at, centre, radius, strict=True)]
    return 1 - np.sqrt(sum(squares[1:], squares[0]))


def paint(image: np.ndarray, where: np.ndarray, value: np.ndarray | float) -> None:
    """Set the voxels where `where` is positive."""
    image[...] = np.where(where > 0, value, image)


def texture(rng: np.random.Generator, size: tuple[int, ...], scale: float) -> np.ndarray:
    """Smooth noise of unit standard deviation, with a grain size of `scale` times the largest side."""
    sigma = scale * max(size)
    coarse = tuple(max(2, round(n / max(1.0, sigma / 2))) for n in size)
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), min(2.0, sigma), mode="wrap")
    noise = ndimage.zoom(noise, [n / c for n, c in zip(size, coarse, strict=True)], order=1)
    return (noise - noise.mean()) / (noise.std() + 1e-6)
