"""Compiled loops for the intensity transforms: scaling, tone curves by table, powers, small Gaussian blurs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
ENTRIES = 4096
SQUARES = np.linspace(0, 1, ENTRIES) ** 2
_TAPS = 3  # neighbours per side that are summed in one pass


def _fitted(f: Callable[[np.ndarray], np.ndarray], degree: int, domain: tuple[float, float]) -> tuple[np.float32, ...]:
    """Coefficients (constant first) of the polynomial that interpolates f at the Chebyshev points."""
    series = np.polynomial.Chebyshev.interpolate(f, degree, domain)
    return tuple(np.float32(c) for c in series.convert(kind=np.polynomial.Polynomial).coef)


_LOG2 = _fitted(np.log2, 7, (1, 2))  # to 2e-6
_EXP2 = _fitted(np.exp2, 5, (0, 1))  # to 3e-7


def to_unit(x: np.ndarray, low: float, high: float, *, cut: bool = True) -> None:
    """Map `x` (contiguous float32) in place so that (low, high) becomes (0, 1); `cut` clips to 0..1. NaN stays NaN.

    If low and high are equal (a constant image), everything becomes 0.
    """
    bounds = np.float32(0 if cut else -np.inf), np.float32(1 if cut else np.inf)
    _to_unit(x.reshape(-1), np.float32(low), np.float32(1 / (high - low) if high > low else 0.0), *bounds)


@_compiled
def _to_unit(x: np.ndarray, low: np.float32, gain: np.float32, least: np.float32, most: np.float32) -> None:
    for i in range(len(x)):
        value = (x[i] - low) * gain
        value = least if value < least else value
        x[i] = most if value > most else value


def tone(x: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `curve`: [0,1] -> [0,1] to `x` of any shape through a table; values outside [0,1] are clipped first.

    The table is even in sqrt(x), not in x: curves may be steep at 0. Linear pieces between 4096 entries keep the error
    under 1e-4 for any curve with slope under 10, under 1e-6 for smooth ones.
    """
    table = curve(SQUARES).astype(np.float32)
    out = np.empty(x.shape, np.float32)
    _look_up(np.ascontiguousarray(x, np.float32).reshape(-1), table, out.reshape(-1))
    return out


@_compiled
def _look_up(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    last = np.float32(len(table) - 1)
    for i in range(len(x)):
        t = np.sqrt(min(max(x[i], np.float32(0)), np.float32(1))) * last
        k = np.uint32(min(np.int32(t), np.int32(len(table) - 2)))
        out[i] = table[k] + (t - np.float32(k)) * (table[k + np.uint32(1)] - table[k])


def power(x: np.ndarray, exponent: float) -> np.ndarray:
    """Clip `x` (any shape) to [0,1] and raise it to the power `exponent`; exact to 1e-5, and much faster than libm."""
    out = np.empty(x.shape, np.float32)
    bits = np.ascontiguousarray(x, np.float32).reshape(-1).view(np.int32)
    _power(bits, np.float32(exponent), out.reshape(-1))
    return out


@_compiled
def _power(x: np.ndarray, exponent: np.float32, out: np.ndarray) -> None:
    """2 ** (exponent * log2(x)) of the bits x of float32: each function is a whole number and a polynomial."""
    a, b, c, d, e, f, g, h = _LOG2
    p, q, r, s, t, u = _EXP2
    one = np.int32(127 << 23)
    for i in range(len(x)):
        bits = min(max(x[i], np.int32(1 << 23)), one)  # of floats from the smallest to 1: their order is the floats'
        m = np.int32((bits & np.int32((1 << 23) - 1)) | one).view(np.float32)
        log = a + m * (b + m * (c + m * (d + m * (e + m * (f + m * (g + m * h))))))
        scaled = max(exponent * (np.float32(np.int32(bits >> 23) - 127) + log), np.float32(-126))
        whole = np.floor(scaled)
        v = scaled - whole
        value = p + v * (q + v * (r + v * (s + v * (t + v * u))))
        value *= np.int32((np.int32(whole) + 127) << 23).view(np.float32)
        out[i] = min(value, np.float32(1)) if x[i] > 0 else np.float32(0)


def gaussian(sigma: float) -> np.ndarray:
    """Gaussian weights float32 at distances 0, 1, ... up to 3 sigma; those of both sides sum to 1."""
    weights = np.exp(-0.5 * (np.arange(int(np.ceil(3 * sigma)) + 1) / sigma) ** 2)
    return (weights / (weights[0] + 2 * weights[1:].sum())).astype(np.float32)


def blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `x` (C,*S) float32 with `sigma` voxels, truncated at 3 sigma; the border voxel is repeated."""
    weights = gaussian(sigma)
    padded = np.pad(weights, (0, max(_TAPS + 1 - len(weights), 0)))
    out = np.empty(x.shape, np.float32)
    Z, Y, X = (1, *x.shape[1:])[-3:]
    flat = len(x), Z * Y * X
    _blur(np.ascontiguousarray(x, np.float32).reshape(flat), (Z, Y, X), padded, out.reshape(flat))
    return out


@_compiled
def _blur(x: np.ndarray, shape: tuple[int, int, int], weights: np.ndarray, out: np.ndarray) -> None:
    """Blur x (C,voxels) plane by plane, so that what is between the three passes stays in the processor's cache."""
    Z, Y, X = shape
    radius = len(weights) - 1
    wide = X + 2 * radius  # rows are padded by their border voxels for the pass along x
    a, b = np.empty((1, Y * X), np.float32), np.empty((1, Y * wide), np.float32)
    near, far = np.empty(radius + 1, np.uint64), np.empty(radius + 1, np.uint64)
    for c in range(len(x)):
        for z in range(Z):
            for k in range(radius + 1):
                near[k], far[k] = max(z - k, 0) * Y * X, min(z + k, Z - 1) * Y * X
            _weighted(x, c, near, far, weights, a, 0, 0, Y * X)
            for y in range(Y):
                for k in range(radius + 1):
                    near[k], far[k] = max(y - k, 0) * X, min(y + k, Y - 1) * X
                start = y * wide + radius
                _weighted(a, 0, near, far, weights, b, 0, start, X)
                for k in range(1, radius + 1):
                    b[0, start - k], b[0, start + X - 1 + k] = b[0, start], b[0, start + X - 1]
            for y in range(Y):
                start = y * wide + radius
                for k in range(radius + 1):
                    near[k], far[k] = start - k, start + k
                _weighted(b, 0, near, far, weights, out, c, (z * Y + y) * X, X)


@_compiled
def _weighted(
    x: np.ndarray,
    c: int,
    near: np.ndarray,
    far: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
    d: int,
    o: int,
    n: int,
) -> None:
    """Fill n voxels of out[d], from o on: the sum over k of weights[k] times the two runs of x[c] at distance k."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    at, n1, n2, n3, f1, f2, f3 = near[0], near[1], near[2], near[3], far[1], far[2], far[3]
    for j in range(n):
        i = np.uint64(j)
        total = w0 * x[c, at + i] + w1 * (x[c, n1 + i] + x[c, f1 + i])
        out[d, o + j] = total + w2 * (x[c, n2 + i] + x[c, f2 + i]) + w3 * (x[c, n3 + i] + x[c, f3 + i])
    for k in range(4, len(weights)):
        w, before, after = weights[k], near[k], far[k]
        for j in range(n):
            i = np.uint64(j)
            out[d, o + j] += w * (x[c, before + i] + x[c, after + i])
