"""The compiled loops of the resampling pass: one output row at a time, positions first, then one gather loop.

Compiled code is cached on disk, so that a worker does not pay for it. Nothing is parallel here: workers are.
"""

from __future__ import annotations

import numba
import numpy as np

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@_compiled
def _cells(points: int, width: int) -> np.ndarray:
    """Control cell (width,) of every output voxel of a row."""
    cells = np.empty(width, np.int64)
    for x in range(width):
        cells[x] = min(int(x * (points - 1) / max(width - 1, 1)), max(points - 2, 0))
    return cells


@_compiled
def _control_plane(control: np.ndarray, depth: int, z: int, plane: np.ndarray) -> None:
    """Interpolate the control grid (3,gz,gy,gx) at output plane z of `depth` -> plane (3,gy,gx)."""
    gz = control.shape[1]
    at = z * (gz - 1) / max(depth - 1, 1)
    near = min(int(at), max(gz - 2, 0))
    plane[:] = control[:, near] + (control[:, min(near + 1, gz - 1)] - control[:, near]) * (at - near)


@_compiled
def _row(
    matrix: np.ndarray,
    offset: np.ndarray,
    plane: np.ndarray,
    size: np.ndarray,
    z: int,
    y: int,
    value: np.ndarray,
    slope: np.ndarray,
) -> None:
    """Source position along the row (z,y) is linear in x inside each control cell: value + slope * x (3,cells)."""
    gy, gx = plane.shape[1:]
    at = y * (gy - 1) / max(size[1] - 1, 1)
    near = min(int(at), max(gy - 2, 0))
    far, f = min(near + 1, gy - 1), at - near
    cell = (gx - 1) / max(size[2] - 1, 1)
    for i in range(3):
        base = matrix[i, 0] * z + matrix[i, 1] * y + offset[i]
        left = plane[i, near, 0] + f * (plane[i, far, 0] - plane[i, near, 0])
        for k in range(value.shape[1]):
            right = left
            if k + 1 < gx:
                right = plane[i, near, k + 1] + f * (plane[i, far, k + 1] - plane[i, near, k + 1])
            value[i, k] = base + left - k * (right - left)
            slope[i, k] = matrix[i, 2] + (right - left) * cell
            left = right


@_compiled
def _positions(cells: np.ndarray, value: np.ndarray, slope: np.ndarray, position: np.ndarray) -> None:
    """Fill position (3,width) float32."""
    for x in range(len(cells)):
        k, along = cells[x], np.float32(x)
        position[0, x] = value[0, k] + slope[0, k] * along
        position[1, x] = value[1, k] + slope[1, k] * along
        position[2, x] = value[2, k] + slope[2, k] * along


@_compiled
def _outside(position: np.ndarray, shape: np.ndarray, out: np.ndarray, fill: float) -> None:
    """Put `fill` into the row (C,width) wherever the position is more than half a voxel outside."""
    for i in range(3):
        top = np.float32(shape[i] - 0.5)
        for x in range(out.shape[1]):
            if position[i, x] < np.float32(-0.5) or position[i, x] > top:
                out[:, x] = fill


@_compiled
def _corners(position: np.ndarray, shape: tuple[int, int, int], start: np.ndarray, weight: np.ndarray) -> None:
    """Clamp position (3,width) to the source; fill the flat index of the lower corner and the three weights."""
    top = np.float32(shape[0] - 1), np.float32(shape[1] - 1), np.float32(shape[2] - 1)
    last = np.int32(max(shape[0] - 2, 0)), np.int32(max(shape[1] - 2, 0)), np.int32(max(shape[2] - 2, 0))
    layer, row = shape[1] * shape[2], shape[2]
    zero = np.float32(0)
    for x in range(len(start)):
        z = min(max(position[0, x], zero), top[0])
        y = min(max(position[1, x], zero), top[1])
        u = min(max(position[2, x], zero), top[2])
        k, j, i = min(np.int32(z), last[0]), min(np.int32(y), last[1]), min(np.int32(u), last[2])
        start[x] = np.int64(k) * layer + np.int64(j) * row + np.int64(i)
        weight[0, x], weight[1, x], weight[2, x] = z - np.float32(k), y - np.float32(j), u - np.float32(i)


@_compiled
def _gather(s: np.ndarray, start: np.ndarray, weight: np.ndarray, row: int, step: int, out: np.ndarray) -> None:
    """Bilinear in y and x: four voxels of the flat source `s` for each output voxel."""
    for x in range(len(out)):
        a = start[x]
        fy, fx = weight[1, x], weight[2, x]
        v0, v1 = np.float32(s[a]), np.float32(s[a + row])
        v0 += fx * (np.float32(s[a + step]) - v0)
        v1 += fx * (np.float32(s[a + row + step]) - v1)
        out[x] = v0 + fy * (v1 - v0)


@_compiled
def _gather_two_planes(
    s: np.ndarray, start: np.ndarray, weight: np.ndarray, layer: int, row: int, step: int, out: np.ndarray
) -> None:
    """Trilinear: eight voxels."""
    for x in range(len(out)):
        a = start[x]
        b = a + layer
        fz, fy, fx = weight[0, x], weight[1, x], weight[2, x]
        v0, v1 = np.float32(s[a]), np.float32(s[a + row])
        v0 += fx * (np.float32(s[a + step]) - v0)
        v1 += fx * (np.float32(s[a + row + step]) - v1)
        u0, u1 = np.float32(s[b]), np.float32(s[b + row])
        u0 += fx * (np.float32(s[b + step]) - u0)
        u1 += fx * (np.float32(s[b + row + step]) - u1)
        v0 += fy * (v1 - v0)
        u0 += fy * (u1 - u0)
        out[x] = v0 + fz * (u0 - v0)


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
    size, shape = np.array(out.shape[1:]), np.array(source.shape[1:])
    width = out.shape[3]
    cells, plane = _cells(control.shape[3], width), np.empty(control.shape[:1] + control.shape[2:])
    value = np.empty((3, max(control.shape[3] - 1, 1)), np.float32)
    slope, position = np.empty_like(value), np.empty((3, width), np.float32)
    start, weight = np.empty(width, np.int64), np.empty((3, width), np.float32)
    layer, row, step = Y * X, (X if Y > 1 else 0), (1 if X > 1 else 0)
    flat = source.reshape(C, Z * Y * X)
    for z in range(out.shape[1]):
        _control_plane(control, size[0], z, plane)
        for y in range(out.shape[2]):
            _row(matrix, offset, plane, size, z, y, value, slope)
            _positions(cells, value, slope, position)
            _corners(position, (Z, Y, X), start, weight)
            for c in range(C):
                if Z > 1:
                    _gather_two_planes(flat[c], start, weight, layer, row, step, out[c, z, y])
                else:
                    _gather(flat[c], start, weight, row, step, out[c, z, y])
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
    cells, plane = _cells(control.shape[3], width), np.empty(control.shape[:1] + control.shape[2:])
    value = np.empty((3, max(control.shape[3] - 1, 1)), np.float32)
    slope, position = np.empty_like(value), np.empty((3, width), np.float32)
    for z in range(out.shape[1]):
        _control_plane(control, size[0], z, plane)
        for y in range(out.shape[2]):
            _row(matrix, offset, plane, size, z, y, value, slope)
            _positions(cells, value, slope, position)
            for x in range(width):
                k = min(max(int(np.floor(position[0, x] + np.float32(0.5))), 0), shape[0] - 1)
                j = min(max(int(np.floor(position[1, x] + np.float32(0.5))), 0), shape[1] - 1)
                i = min(max(int(np.floor(position[2, x] + np.float32(0.5))), 0), shape[2] - 1)
                for c in range(source.shape[0]):
                    out[c, z, y, x] = source[c, k, j, i]
            if inside_only:
                _outside(position, shape, out[:, z, y], fill)
