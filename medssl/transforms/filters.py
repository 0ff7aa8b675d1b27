"""Compiled loops of the intensity transforms: a tone curve by table, and a small separable Gaussian blur."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
_ENTRIES = 4096


def tone(x: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `curve`: [0,1] -> [0,1] to `x` of any shape through a table; values outside [0,1] are clipped first.

    The table is even in sqrt(x), not in x: a gamma below 1 is infinitely steep at 0 and would be wrong there. Linear
    pieces between 4096 entries keep the error under 1e-4 for any curve with slope under 10, under 1e-6 for smooth ones.
    """
    entries = np.linspace(0, 1, _ENTRIES)
    table = curve(entries**2).astype(np.float32)
    out = np.empty(x.shape, np.float32)
    _look_up(np.ascontiguousarray(x, np.float32).reshape(-1), table, out.reshape(-1))
    return out


@_compiled
def _look_up(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    last = np.float32(len(table) - 1)
    for i in range(len(x)):
        t = np.sqrt(min(max(x[i], np.float32(0)), np.float32(1))) * last
        k = min(np.int32(t), np.int32(len(table) - 2))
        out[i] = table[k] + (t - np.float32(k)) * (table[k + 1] - table[k])


def blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `x` (C,*S) float32 with `sigma` voxels, cut at 3 sigma, the border voxel repeated outside."""
    radius = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    out = np.ascontiguousarray(x, np.float32)
    for axis in range(1, x.ndim):
        inner = int(np.prod(out.shape[axis + 1 :]))
        blurred = np.empty_like(out)
        lines = (-1, out.shape[axis], inner)
        along = _blur_rows if inner == 1 else _blur_lines
        along(out.reshape(lines), weights, blurred.reshape(lines))
        out = blurred
    return out


@_compiled
def _blur_lines(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Blur (outer,n,inner) along its middle axis."""
    radius, n = len(weights) // 2, x.shape[1]
    for a in range(x.shape[0]):
        for i in range(n):
            row = out[a, i]
            row[:] = np.float32(0)
            for k in range(len(weights)):
                from_row = x[a, min(max(i + k - radius, 0), n - 1)]
                w = weights[k]
                for b in range(len(row)):
                    row[b] += w * from_row[b]


@_compiled
def _blur_rows(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Blur (outer,n,1) along its middle axis, which is the one contiguous in memory."""
    radius, n = len(weights) // 2, x.shape[1]
    padded = np.empty(n + 2 * radius, np.float32)
    for a in range(x.shape[0]):
        padded[:radius] = x[a, 0, 0]
        padded[radius + n :] = x[a, n - 1, 0]
        padded[radius : radius + n] = x[a, :, 0]
        for i in range(n):
            total = np.float32(0)
            for k in range(len(weights)):
                total += weights[k] * padded[i + k]
            out[a, i, 0] = total


def shuffle_blocks(x: np.ndarray, boxes: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle the voxels of `x` (C,*S) inside each box, one after the other, reading from `x`, channels together.

    `boxes` (K,2n): start, then size. Later boxes overwrite earlier ones.
    """
    n = x.ndim - 1
    out, source = x.copy(), np.ascontiguousarray(x)
    lifted = np.concatenate([np.zeros((len(boxes), 3 - n), np.int64), boxes[:, :n]], 1)
    sizes = np.concatenate([np.ones((len(boxes), 3 - n), np.int64), boxes[:, n:]], 1)
    shape = (len(x), *[1] * (3 - n), *x.shape[1:])
    _shuffle(source.reshape(shape), lifted, sizes, np.uint64(seed), out.reshape(shape))
    return out


@_compiled
def _shuffle(x: np.ndarray, starts: np.ndarray, sizes: np.ndarray, state: np.uint64, out: np.ndarray) -> None:
    """Fisher-Yates in each box, driven by splitmix64 (Steele et al. 2014), whose numbers every platform agrees on."""
    order = np.empty(int((sizes[:, 0] * sizes[:, 1] * sizes[:, 2]).max()), np.int64)
    for b in range(len(starts)):
        z, y, w = starts[b]
        d, h, v = sizes[b]
        for i in range(d * h * v):
            state += np.uint64(0x9E3779B97F4A7C15)
            m = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            m = (m ^ (m >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            j = np.int64((m ^ (m >> np.uint64(31))) % np.uint64(i + 1))
            order[i] = order[j]
            order[j] = i
        for i in range(d * h * v):
            a = order[i]
            for c in range(len(x)):
                out[c, z + i // (h * v), y + i // v % h, w + i % v] = x[c, z + a // (h * v), y + a // v % h, w + a % v]
