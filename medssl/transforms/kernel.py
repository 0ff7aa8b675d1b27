"""The compiled loops of the resampling pass: one output row at a time, positions first, then one gather loop.

Compiled code is cached on disk, so that a worker does not pay for it. Nothing is parallel here: workers are.
"""

from __future__ import annotations

import numba
import numpy as np

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@_compiled
def _control_line(control: np.ndarray, size: np.ndarray, z: int, y: int, line: np.ndarray) -> None:
    """Interpolate the control grid (3,gz,gy,gx) at row (z,y) -> line (3,gx)."""
    gz, gy, gx = control.shape[1:]
    cz = z * (gz - 1) / max(size[0] - 1, 1)
    cy = y * (gy - 1) / max(size[1] - 1, 1)
    z0, y0 = min(int(cz), max(gz - 2, 0)), min(int(cy), max(gy - 2, 0))
    z1, y1 = min(z0 + 1, gz - 1), min(y0 + 1, gy - 1)
    fz, fy = cz - z0, cy - y0
    for i in range(3):
        for k in range(gx):
            near = control[i, z0, y0, k] * (1 - fy) + control[i, z0, y1, k] * fy
            far = control[i, z1, y0, k] * (1 - fy) + control[i, z1, y1, k] * fy
            line[i, k] = near * (1 - fz) + far * fz


@_compiled
def _positions(
    matrix: np.ndarray, offset: np.ndarray, line: np.ndarray, z: int, y: int, width: int, position: np.ndarray
) -> None:
    """Fill position (3,width) float32: inside one control cell a source position is linear in x."""
    gx = line.shape[1]
    cell = (gx - 1) / max(width - 1, 1)
    for i in range(3):
        base = matrix[i, 0] * z + matrix[i, 1] * y + offset[i]
        row = position[i]
        stop = 0
        for k in range(max(gx - 1, 1)):
            start, rise = stop, line[i, min(k + 1, gx - 1)] - line[i, k]
            stop = width if k >= gx - 2 else min(int((k + 1) / cell) + 1, width)
            first, slope = np.float32(base + line[i, k] - k * rise), np.float32(matrix[i, 2] + rise * cell)
            for x in range(start, stop):
                row[x] = first + slope * np.float32(x)


@_compiled
def _outside(position: np.ndarray, shape: np.ndarray, out: np.ndarray, fill: float) -> None:
    """Put `fill` into the row (C,width) wherever the position is more than half a voxel outside."""
    for i in range(3):
        top = np.float32(shape[i] - 0.5)
        for x in range(out.shape[1]):
            if position[i, x] < np.float32(-0.5) or position[i, x] > top:
                out[:, x] = fill


@_compiled
def linear_rows(
    source: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    control: np.ndarray,
    out: np.ndarray,
    inside_only: bool,
    fill: float,
) -> None:
    """Sample source (C,Z,Y,X) linearly into out (C,z,y,x) float32."""
    C, Z, Y, X = source.shape
    size = np.array(out.shape[1:])
    shape = np.array(source.shape[1:])
    width = out.shape[3]
    line, position = np.empty((3, control.shape[3])), np.empty((3, width), np.float32)
    start, weight = np.empty(width, np.int64), np.empty((3, width), np.float32)
    plane, row = Y * X if Z > 1 else 0, X if Y > 1 else 0
    step = 1 if X > 1 else 0
    stride = (Y * X, X, 1)
    flat = source.reshape(C, Z * Y * X)
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            _control_line(control, size, z, y, line)
            _positions(matrix, offset, line, z, y, width, position)
            start[:] = 0
            for i in range(3):
                top, last = np.float32(shape[i] - 1), max(shape[i] - 2, 0)
                for x in range(width):
                    p = min(max(position[i, x], np.float32(0)), top)
                    q = min(np.int64(p), last)
                    start[x] += q * stride[i]
                    weight[i, x] = p - np.float32(q)
            for c in range(C):
                s, o = flat[c], out[c, z, y]
                for x in range(width):
                    a = start[x]
                    fz, fy, fx = weight[0, x], weight[1, x], weight[2, x]
                    v0, v1 = np.float32(s[a]), np.float32(s[a + row])
                    v0 += fx * (np.float32(s[a + step]) - v0)
                    v1 += fx * (np.float32(s[a + row + step]) - v1)
                    v0 += fy * (v1 - v0)
                    if plane > 0:
                        b = a + plane
                        u0, u1 = np.float32(s[b]), np.float32(s[b + row])
                        u0 += fx * (np.float32(s[b + step]) - u0)
                        u1 += fx * (np.float32(s[b + row + step]) - u1)
                        u0 += fy * (u1 - u0)
                        v0 += fz * (u0 - v0)
                    o[x] = v0
            if inside_only:
                _outside(position, shape, out[:, z, y], fill)


@_compiled
def block_means(source: np.ndarray, factor: np.ndarray, out: np.ndarray) -> None:
    """Mean of source (C,Z,Y,X) over blocks of factor (3,) voxels into out (C,z,y,x); the border repeats outside."""
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


@_compiled
def nearest_rows(
    source: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    control: np.ndarray,
    out: np.ndarray,
    inside_only: bool,
    fill: float,
) -> None:
    """Take the nearest voxel of source (C,Z,Y,X) into out (C,z,y,x) of the same type; halves go up."""
    size = np.array(out.shape[1:])
    shape = np.array(source.shape[1:])
    width = out.shape[3]
    line, position = np.empty((3, control.shape[3])), np.empty((3, width), np.float32)
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            _control_line(control, size, z, y, line)
            _positions(matrix, offset, line, z, y, width, position)
            for x in range(width):
                k = min(max(int(np.floor(position[0, x] + np.float32(0.5))), 0), shape[0] - 1)
                j = min(max(int(np.floor(position[1, x] + np.float32(0.5))), 0), shape[1] - 1)
                i = min(max(int(np.floor(position[2, x] + np.float32(0.5))), 0), shape[2] - 1)
                for c in range(source.shape[0]):
                    out[c, z, y, x] = source[c, k, j, i]
            if inside_only:
                _outside(position, shape, out[:, z, y], fill)
