"""Means over blocks of voxels, for maps that step over voxels."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})
def block_means(source: np.ndarray, factor: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with the means of a source over blocks of voxels.

    Args:
        source: (C,Z,Y,X), of any type; its outermost voxels are repeated where a block reaches beyond it.
        factor: (3,) sides of a block in voxels.
        out: (C,z,y,x) float32: block (z,y,x) begins at source voxel (z,y,x) * factor.

    >>> means = np.empty((1, 1, 2, 2), np.float32)
    >>> block_means(np.arange(16.0).reshape(1, 1, 4, 4), np.array([1, 2, 2]), means)
    >>> means.ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """
    C, Z, Y, X = source.shape
    fz, fy, fx = factor
    whole = X // fx
    scale = np.float32(1 / (fz * fy * fx))
    line = np.empty(X, np.float32)
    for c in range(C):
        for z in range(out.shape[1]):
            for y in range(out.shape[2]):
                line[:] = np.float32(0)
                for k in range(fz):
                    for j in range(fy):
                        row = source[c, min(z * fz + k, Z - 1), min(y * fy + j, Y - 1)]
                        for x in range(X):
                            line[x] += np.float32(row[x])
                for x in range(out.shape[3]):
                    total = np.float32(0)
                    for i in range(fx):
                        total += line[x * fx + i] if x < whole else line[min(x * fx + i, X - 1)]
                    out[c, z, y, x] = total * scale
