"""Compiled loops of the intensity transforms: tone curves by table, small Gaussian blurs, noise, shuffles."""

from __future__ import annotations

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
    out = np.empty(x.shape, np.float32)
    flat = (slice(None), *[None] * (4 - x.ndim))
    _blur(np.ascontiguousarray(x, np.float32)[flat], weights, out[flat])
    return out


@_compiled
def _blur(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Blur (C,Z,Y,X) plane by plane, so that what is between the three passes stays in the processor's cache."""
    Y, X = x.shape[2:]
    radius = len(weights) // 2
    wide = X + 2 * radius  # rows are padded by the border voxel: along x, a plane is then one long line
    a, b = np.empty(Y * wide, np.float32), np.empty(Y * wide, np.float32)
    for c in range(x.shape[0]):
        for z in range(x.shape[1]):
            _across_planes(x[c], z, weights, wide, a)
            _across_rows(a, Y, X, weights, wide, b)
            _along(b, weights, a)
            for y in range(Y):
                start = y * wide + radius
                out[c, z, y, :] = a[start : start + X]


@_compiled
def _weighted(near: np.ndarray, far: np.ndarray, w: np.floating, out: np.ndarray) -> None:
    """Add w * (near + far) to `out`: slices from 0 on, which compile to vectors."""
    for i in range(len(out)):
        out[i] += w * (near[i] + far[i])


@_compiled
def _across_planes(x: np.ndarray, z: int, weights: np.ndarray, wide: int, out: np.ndarray) -> None:
    """Blur x (Z,Y,X) along z at plane z, into padded rows; the two voxels at each distance share a weight."""
    Z, Y, X = x.shape
    radius = len(weights) // 2
    half = weights[radius] / np.float32(2) if Z > 1 else np.float32(0.5)
    for y in range(Y):
        row = out[y * wide + radius : y * wide + radius + X]
        row[:] = np.float32(0)
        _weighted(x[z, y], x[z, y], half, row)
        for k in range(1, radius + 1 if Z > 1 else 1):
            _weighted(x[max(z - k, 0), y], x[min(z + k, Z - 1), y], weights[radius + k], row)


@_compiled
def _across_rows(x: np.ndarray, Y: int, X: int, weights: np.ndarray, wide: int, out: np.ndarray) -> None:
    """Blur padded rows along y, and fill their padding."""
    radius = len(weights) // 2
    for y in range(Y):
        start = y * wide + radius
        row = out[start : start + X]
        row[:] = np.float32(0)
        for k in range(radius + 1):
            before, after = max(y - k, 0) * wide + radius, min(y + k, Y - 1) * wide + radius
            w = weights[radius + k] if k > 0 else weights[radius] / np.float32(2)
            _weighted(x[before : before + X], x[after : after + X], w, row)
        out[start - radius : start] = row[0]
        out[start + X : start + X + radius] = row[X - 1]


@_compiled
def _along(x: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Blur one long line; its first and last few voxels, which are padding, are left."""
    radius = len(weights) // 2
    n = len(x) - 2 * radius
    line = out[radius : radius + n]
    line[:] = np.float32(0)
    for k in range(radius + 1):
        w = weights[radius + k] if k > 0 else weights[radius] / np.float32(2)
        _weighted(x[radius - k : radius - k + n], x[radius + k : radius + k + n], w, line)


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
