"""Compiled noise and shuffling: random bits from counters, so that a seed gives the same result on every device."""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
from scipy.stats import norm

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
_STEP = np.uint64(0x9E3779B97F4A7C15)  # of the counter behind the shuffles
_LEVELS = 4096
_RUN = 2048  # voxels per pass, so that the random bits stay in the processor's cache


@cache
def normal_table() -> np.ndarray:
    """4,096 equally likely values of unit variance: the means of the normal distribution between its quantiles."""
    edges = norm.pdf(norm.ppf(np.linspace(0, 1, _LEVELS + 1)))
    values = edges[:-1] - edges[1:]
    return (values / values.std()).astype(np.float32)


def add_noise(x: np.ndarray, std: float, seed: int) -> np.ndarray:
    """`x` plus Gaussian noise of `std`, clipped to [0,1]; voxel i always gets the same noise for the same seed."""
    out = np.empty(x.shape, np.float32)
    table = normal_table() * np.float32(std)
    _add_noise(np.ascontiguousarray(x, np.float32).reshape(-1), table, *words(seed), out.reshape(-1))
    return out


def block_seed(seed: int, number: int) -> int:
    """A separate seed for each block: neighbouring seeds would give the same numbers in another order."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])


def words(seed: int) -> tuple[np.uint32, np.uint32]:
    """The two halves of a seed of up to 64 bits."""
    return np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)


@_compiled
def _mix32(state: np.uint32) -> np.uint32:
    """Wellons' lowbias32 (2018): a bijection of 32 bits in which every bit of the input flips half of the output's."""
    m = np.uint32(np.uint32(state ^ (state >> np.uint32(16))) * np.uint32(0x7FEB352D))
    m = np.uint32(np.uint32(m ^ (m >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(m ^ (m >> np.uint32(16)))


@_compiled
def _bits(start: int, low: np.uint32, high: np.uint32, out: np.ndarray) -> None:
    """Random 32 bits of the counters from `start` on."""
    for i in range(len(out)):
        out[i] = _mix32(_mix32(np.uint32(start + i) ^ low) ^ high)


@_compiled
def _add_noise(x: np.ndarray, table: np.ndarray, low: np.uint32, high: np.uint32, out: np.ndarray) -> None:
    bits = np.empty(_RUN, np.uint32)
    for start in range(0, len(x), _RUN):
        _bits(start, low, high, bits)
        for i in range(min(_RUN, len(x) - start)):
            value = x[start + i] + table[bits[i] >> np.uint32(20)]
            out[start + i] = min(max(value, np.float32(0)), np.float32(1))


def uniform_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise (shape) float32, uniform in (0,1), by the same generator."""
    bits = np.empty(int(np.prod(shape)), np.uint32)
    _bits(0, *words(seed), bits)
    return (((bits >> np.uint32(9)) + np.float32(0.5)) * np.float32(2**-23)).astype(np.float32).reshape(shape)


def shuffle_blocks(x: np.ndarray, boxes: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle the voxels of `x` (C,*S) inside each box, all channels alike.

    `boxes` (K,2n): start, then size. Each box reads from `x`, and later boxes overwrite earlier ones.
    """
    n = x.ndim - 1
    out, source = x.copy(), np.ascontiguousarray(x)
    lifted = np.concatenate([np.zeros((len(boxes), 3 - n), np.int64), boxes[:, :n]], 1)
    sizes = np.concatenate([np.ones((len(boxes), 3 - n), np.int64), boxes[:, n:]], 1)
    shape = (len(x), *[1] * (3 - n), *x.shape[1:])
    _shuffle(source.reshape(shape), lifted, sizes, np.uint64(seed), out.reshape(shape))
    return out


@_compiled
def _mix(state: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele et al. 2014): random bits from a counter, the same on every platform."""
    m = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    m = (m ^ (m >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return m ^ (m >> np.uint64(31))


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
