"""The compiled loops of the resampling pass: one output row at a time, positions first, then one gather loop.

A turned row jumps from source line to source line, which no processor foresees: with a source larger than its caches
the gather loop would mostly wait for memory. So a row's lines are asked for (`_fetch`) some rows before it is gathered;
the rows between live in slots, the first axis of `position`, `start` and `weight`. Loops index whole arrays: a slice
handed to a function would cost more than its row. Flat indices are unsigned, so that no code for negative ones is made.
Compiled code is cached on disk, so that a worker does not pay for it. Nothing is parallel here: workers are.
"""

from __future__ import annotations

import numba
import numpy as np

from medssl.transforms.resampling.prefetch import prefetch

Array = np.ndarray
AHEAD = 2  # rows from asking to gathering: as long as memory takes
NEAR = 7 * 2**19  # bytes of a channel: up to here the caches hold the source, and asking costs more than it saves

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@_compiled
def _between(index: int, size: int, points: int) -> tuple[int, int, np.float32]:
    """The control points on both sides of voxel `index` of `size`, and how far it is from the first to the second."""
    at = index * (points - 1) / max(size - 1, 1)
    near = min(int(at), max(points - 2, 0))
    return near, min(near + 1, points - 1), np.float32(at - near)


@_compiled
def _along_x(control: Array, slope: Array, width: int) -> Array:
    """The control grid (3,gz,gy,gx) at every output voxel of a row, plus slope * x -> (3,gz,gy,width)."""
    gz, gy, gx = control.shape[1:]
    lines = np.empty((3, gz, gy, width), np.float32)
    for x in range(width):
        near, far, f = _between(x, width, gx)
        for i in range(3):
            for z in range(gz):
                for y in range(gy):
                    left = control[i, z, y, near]
                    lines[i, z, y, x] = slope[i] * x + left + f * (control[i, z, y, far] - left)
    return lines


@_compiled
def _plane(lines: Array, z: int, depth: int, plane: Array) -> None:
    """Interpolate lines (3,gz,gy,width) at output plane z of `depth` -> plane (3,gy,width)."""
    near, far, f = _between(z, depth, lines.shape[1])
    for i in range(3):
        for y in range(lines.shape[2]):
            for x in range(lines.shape[3]):
                plane[i, y, x] = lines[i, near, y, x] + f * (lines[i, far, y, x] - lines[i, near, y, x])


@_compiled
def _positions(
    matrix: Array,
    offset: Array,
    plane: Array,
    z: int,
    y: int,
    height: int,
    reach: tuple[int, int, int],
    position: Array,
    slot: int,
) -> None:
    """Source positions of the row (z,y) -> position[slot] (3,width), mirrored at the faces of axes with `reach`."""
    near, far, f = _between(y, height, plane.shape[1])
    for i in range(3):
        first = np.float32(matrix[i, 0] * z + matrix[i, 1] * y + offset[i])
        for x in range(position.shape[2]):
            position[slot, i, x] = (first + plane[i, near, x]) + f * (plane[i, far, x] - plane[i, near, x])
        if reach[i] > 0:
            _mirror(position, slot, i, np.float32(reach[i]))


@_compiled
def _mirror(position: Array, slot: int, i: int, extent: np.float32) -> None:
    """Fold positions along axis i into [-0.5, extent - 0.5]."""
    for x in range(position.shape[2]):
        along = (position[slot, i, x] + np.float32(0.5)) / (2 * extent)
        along = 2 * extent * (along - np.floor(along))
        position[slot, i, x] = min(along, 2 * extent - along) - np.float32(0.5)


@_compiled
def _corners(position: Array, slot: int, shape: tuple[int, int, int], start: Array, weight: Array) -> None:
    """Clamp position[slot] (3,width) to the source; fill the flat index of the lower corner and the three weights."""
    top = np.float32(shape[0] - 1), np.float32(shape[1] - 1), np.float32(shape[2] - 1)
    last = np.int32(max(shape[0] - 2, 0)), np.int32(max(shape[1] - 2, 0)), np.int32(max(shape[2] - 2, 0))
    layer, row = np.int32(shape[1] * shape[2]), np.int32(shape[2])
    for x in range(start.shape[1]):
        z = min(max(position[slot, 0, x], np.float32(0)), top[0])
        y = min(max(position[slot, 1, x], np.float32(0)), top[1])
        u = min(max(position[slot, 2, x], np.float32(0)), top[2])
        k, j, i = min(np.int32(z), last[0]), min(np.int32(y), last[1]), min(np.int32(u), last[2])
        start[slot, x] = k * layer + j * row + i
        weight[slot, 0, x], weight[slot, 1, x] = z - np.float32(k), y - np.float32(j)
        weight[slot, 2, x] = u - np.float32(i)


@_compiled
def _fetch(base: np.uint64, item: np.uint64, start: Array, slot: int, layer: np.uint64, row: np.uint64) -> None:
    """Ask for what a row gathers from the channel at `base`. Every voxel asks: on a turned row each has its lines."""
    for x in range(start.shape[1]):
        a = base + item * np.uint64(start[slot, x])
        prefetch(a)
        prefetch(a + item * row)
        prefetch(a + item * layer)
        prefetch(a + item * (layer + row))


@_compiled
def _four(
    s: Array, c: int, start: Array, weight: Array, slot: int, row: np.uint64, step: np.uint64, out: Array, o: int
) -> None:
    """Bilinear in y and x: four voxels of the source s (C,voxels) for each voxel of a row of out (C,voxels)."""
    for x in range(start.shape[1]):
        a = np.uint64(start[slot, x])
        fy, fx = weight[slot, 1, x], weight[slot, 2, x]
        v0, v1 = np.float32(s[c, a]), np.float32(s[c, a + row])
        v0 += fx * (np.float32(s[c, a + step]) - v0)
        v1 += fx * (np.float32(s[c, a + row + step]) - v1)
        out[c, o + x] = v0 + fy * (v1 - v0)


@_compiled
def _eight(
    s: Array,
    c: int,
    start: Array,
    weight: Array,
    slot: int,
    layer: np.uint64,
    row: np.uint64,
    step: np.uint64,
    out: Array,
    o: int,
) -> None:
    """Trilinear: eight voxels of the source s for each voxel of a row of out."""
    for x in range(start.shape[1]):
        a = np.uint64(start[slot, x])
        b = a + layer
        fz, fy, fx = weight[slot, 0, x], weight[slot, 1, x], weight[slot, 2, x]
        v0, v1 = np.float32(s[c, a]), np.float32(s[c, a + row])
        v0 += fx * (np.float32(s[c, a + step]) - v0)
        v1 += fx * (np.float32(s[c, a + row + step]) - v1)
        u0, u1 = np.float32(s[c, b]), np.float32(s[c, b + row])
        u0 += fx * (np.float32(s[c, b + step]) - u0)
        u1 += fx * (np.float32(s[c, b + row + step]) - u1)
        v0 += fy * (v1 - v0)
        u0 += fy * (u1 - u0)
        out[c, o + x] = v0 + fz * (u0 - v0)


@_compiled
def _outside(position: Array, slot: int, shape: tuple[int, int, int], out: Array, o: int, fill: float) -> None:
    """Put `fill` into a row of out (C,voxels) wherever the position is more than half a voxel outside."""
    for i in range(3):
        top = np.float32(shape[i] - 0.5)
        for x in range(position.shape[2]):
            if position[slot, i, x] < np.float32(-0.5) or position[slot, i, x] > top:
                out[:, o + x] = fill


@_compiled
def linear_rows(
    source: Array,
    matrix: Array,
    offset: Array,
    control: Array,
    out: Array,
    mirrored: bool,
    inside_only: bool,
    fill: float,
) -> None:
    """Sample contiguous source (C,Z,Y,X) linearly into out (C,z,y,x) float32 at matrix @ voxel + offset + control.

    Beyond its faces the source is `mirrored` or repeats; `inside_only`: half a voxel outside it is `fill`; 2D: Z is 1.
    """
    (C, Z, Y, X), (depth, height, width) = source.shape, out.shape[1:]
    reach = (Z, Y, X) if mirrored else (0, 0, 0)
    lines, plane = _along_x(control, matrix[:, 2], width), np.empty((3, control.shape[2], width), np.float32)
    base, item, voxels = np.uint64(source.ctypes.data), np.uint64(source.itemsize), np.uint64(Z * Y * X)
    ahead = AHEAD if voxels * item > NEAR else 0
    position, weight = np.empty((ahead + 1, 3, width), np.float32), np.empty((ahead + 1, 3, width), np.float32)
    start, s, flat = np.empty((ahead + 1, width), np.uint32), source.reshape(C, Z * Y * X), out.reshape(C, -1)
    layer, row, step = np.uint64(Y * X if Z > 1 else 0), np.uint64(X if Y > 1 else 0), np.uint64(1 if X > 1 else 0)
    for n in range(depth * height + ahead):
        if n < depth * height:
            z, y, slot = n // height, n % height, n % (ahead + 1)
            if y == 0:
                _plane(lines, z, depth, plane)
            _positions(matrix, offset, plane, z, y, height, reach, position, slot)
            _corners(position, slot, (Z, Y, X), start, weight)
            for c in range(C if ahead else 0):
                _fetch(base + np.uint64(c) * voxels * item, item, start, slot, layer, row)
        if n >= ahead:
            slot, o = (n - ahead) % (ahead + 1), (n - ahead) * width
            for c in range(C):
                if Z > 1:
                    _eight(s, c, start, weight, slot, layer, row, step, flat, o)
                else:
                    _four(s, c, start, weight, slot, row, step, flat, o)
            if inside_only:
                _outside(position, slot, (Z, Y, X), flat, o, fill)


@_compiled
def nearest_rows(
    source: Array,
    matrix: Array,
    offset: Array,
    control: Array,
    out: Array,
    mirrored: bool,
    inside_only: bool,
    fill: float,
) -> None:
    """Take the nearest voxel of source into out of the same type; halves go up. Arguments as in `linear_rows`."""
    (C, Z, Y, X), (depth, height, width) = source.shape, out.shape[1:]
    reach = (Z, Y, X) if mirrored else (0, 0, 0)
    lines, plane = _along_x(control, matrix[:, 2], width), np.empty((3, control.shape[2], width), np.float32)
    position, flat, half = np.empty((1, 3, width), np.float32), out.reshape(C, -1), np.float32(0.5)
    slot = len(position) - 1  # for a literal 0, a type of its own, the loops would be compiled once more
    for z in range(depth):
        _plane(lines, z, depth, plane)
        for y in range(height):
            _positions(matrix, offset, plane, z, y, height, reach, position, slot)
            o = (z * height + y) * width
            for x in range(width):
                k = min(max(int(np.floor(position[slot, 0, x] + half)), 0), Z - 1)
                j = min(max(int(np.floor(position[slot, 1, x] + half)), 0), Y - 1)
                i = min(max(int(np.floor(position[slot, 2, x] + half)), 0), X - 1)
                for c in range(C):
                    flat[c, o + x] = source[c, k, j, i]
            if inside_only:
                _outside(position, slot, (Z, Y, X), flat, o, fill)
