"""Compiled loops of the intensity transforms: tone curves by table, small Gaussian blurs, noise, shuffles."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numba
import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from collections.abc import Callable

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
_ENTRIES = 4096
_STEP = np.uint64(0x9E3779B97F4A7C15)  # of the counter behind the random bits


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
    out, spare = np.ascontiguousarray(x, np.float32), np.empty(x.shape, np.float32)
    for axis in range(1, x.ndim):
        last = axis == x.ndim - 1
        lines = (-1, x.shape[axis]) if last else (-1, x.shape[axis], math.prod(x.shape[axis + 1 :]))
        (_blur_rows if last else _blur_lines)(out.reshape(lines), weights, spare.reshape(lines))
        out, spare = spare, np.empty_like(out) if axis == 1 else out
    return out


@_compiled
def _blur_lines(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Blur (outer,n,inner) along its middle axis; the two voxels at each distance share a weight."""
    radius, n = len(weights) // 2, x.shape[1]
    for a in range(x.shape[0]):
        for i in range(n):
            row, middle = out[a, i], x[a, i]
            for b in range(len(row)):
                row[b] = weights[radius] * middle[b]
            for k in range(1, radius + 1):
                w, before, after = weights[radius + k], x[a, max(i - k, 0)], x[a, min(i + k, n - 1)]
                for b in range(len(row)):
                    row[b] += w * (before[b] + after[b])


@_compiled
def _blur_rows(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Blur (outer,n) along its last axis."""
    radius, n = len(weights) // 2, x.shape[1]
    padded = np.empty(n + 2 * radius, np.float32)
    for a in range(x.shape[0]):
        for b in range(radius):
            padded[b], padded[radius + n + b] = x[a, 0], x[a, n - 1]
        for b in range(n):
            padded[radius + b] = x[a, b]
        for b in range(n):
            out[a, b] = weights[radius] * padded[radius + b]
        for k in range(1, radius + 1):
            w = weights[radius + k]
            for b in range(n):
                out[a, b] += w * (padded[radius - k + b] + padded[radius + k + b])


@_compiled
def _mix(state: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele et al. 2014): random bits from a counter, the same on every platform."""
    m = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    m = (m ^ (m >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return m ^ (m >> np.uint64(31))


@cache
def normal_table() -> np.ndarray:
    """65,536 equally likely values of unit variance: quantiles of the normal distribution, out to 4.3."""
    values = ndtri((np.arange(65536) + 0.5) / 65536)
    return (values / values.std()).astype(np.float32)


def add_noise(x: np.ndarray, std: float, seed: int) -> np.ndarray:
    """`x` + fresh Gaussian noise of `std`, cut to [0,1]; voxel i of seed s always gets the same noise.

    Each voxel takes 16 bits of its own from a counter-based generator, so that a device can make the same noise.
    """
    out = np.empty(x.shape, np.float32)
    table = normal_table() * np.float32(std)
    _add_noise(np.ascontiguousarray(x, np.float32).reshape(-1), table, np.uint64(seed), out.reshape(-1))
    return np.clip(out, 0, 1, out=out)


@_compiled
def _add_noise(x: np.ndarray, table: np.ndarray, seed: np.uint64, out: np.ndarray) -> None:
    for i in range(0, len(x), 4):
        bits = _mix(seed + np.uint64(i + 4) * _STEP)
        for j in range(i, min(i + 4, len(x))):
            out[j] = x[j] + table[bits & np.uint64(0xFFFF)]
            bits >>= np.uint64(16)


def uniform_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Fresh noise (shape) float32, uniform in (0,1), by the same generator."""
    out = np.zeros(shape, np.float32)
    table = ((np.arange(65536) + 0.5) / 65536).astype(np.float32)
    _add_noise(out.reshape(-1), table, np.uint64(seed), out.reshape(-1))
    return out


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
    """Fisher-Yates in each box."""
    order = np.empty(int((sizes[:, 0] * sizes[:, 1] * sizes[:, 2]).max()), np.int64)
    for b in range(len(starts)):
        z, y, w = starts[b]
        d, h, v = sizes[b]
        for i in range(d * h * v):
            state += _STEP
            j = np.int64(_mix(state) % np.uint64(i + 1))
            order[i] = order[j]
            order[j] = i
        for i in range(d * h * v):
            a = order[i]
            for c in range(len(x)):
                out[c, z + i // (h * v), y + i // v % h, w + i % v] = x[c, z + a // (h * v), y + a // v % h, w + a % v]
