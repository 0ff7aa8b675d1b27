"""Sign-flip tests of paired differences, Holm's correction for several of them, and the share of seeds won."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

EXACT = 20  # up to this many differences, all flips are tried (a million)
CHUNK = 2**14  # flips at a time, to limit memory


class SignFlip(NamedTuple):
    """A two-sided p, and the smallest p that this many differences can give."""

    p: float
    least: float
    exact: bool  # whether all flips were tried


def sign_flip(
    difference_N: np.ndarray, rng: np.random.Generator | None = None, *, flips: int = 99_999, exact: int = EXACT
) -> SignFlip:
    """Test of mean difference 0: the share of sign flips whose mean is at least as far from 0 as the observed one.

    Args:
        difference_N: paired differences, one per seed (p is about other seeds) or one per patient (p is about other
            patients, for these trained networks). NaN are left out.
        rng: source of random flips if there are too many to try all; None: a generator with seed 0.
        flips: number of random flips; p = (reached + 1) / (flips + 1), never 0 (Phipson and Smyth 2010).
        exact: up to this many differences, all 2^N flips are tried.

    With N differences, p cannot be below 2 / 2^N: five seeds cannot reach .05, and Holm over four needs eight.
    """
    difference = np.asarray(difference_N, dtype=float)
    difference = difference[~np.isnan(difference)]
    n = len(difference)
    if n == 0:
        return SignFlip(float("nan"), float("nan"), True)
    if n <= exact:
        reached = sum(
            _reached(_signs(first, min(first + CHUNK, 2**n), n), difference) for first in range(0, 2**n, CHUNK)
        )
        return SignFlip(reached / 2**n, 2 / 2**n, True)
    rng = rng or np.random.default_rng(0)
    sizes = [CHUNK] * (flips // CHUNK) + [flips % CHUNK]
    reached = sum(_reached(rng.integers(2, size=(size, n)) * 2 - 1, difference) for size in sizes)
    return SignFlip((reached + 1) / (flips + 1), 1 / (flips + 1), False)


def _signs(first: int, last: int, n: int) -> np.ndarray:
    """The binary digits of first..last-1 as signs."""
    return (np.arange(first, last)[:, None] >> np.arange(n) & 1) * 2 - 1


def _reached(signs: np.ndarray, difference: np.ndarray) -> int:
    observed = abs(difference.sum())
    margin = 1e-12 * np.abs(difference).sum()  # sums in another order count as equal
    return int((np.abs(signs @ difference) >= observed - margin).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for the size of their family (Holm 1979).

    NaN stays NaN and counts as a member: the family is what was planned, not what could be computed. The
    probability of any false positive stays below alpha.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(np.where(np.isnan(p), np.inf, p), kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(np.nan_to_num(steps, nan=-np.inf)), 1.0)
    return np.where(np.isnan(p), np.nan, corrected).tolist()


def share_won(difference_S: np.ndarray) -> float:
    """Share of the seeds in which the difference is above 0; a tie is half a win. NaN without seeds."""
    known = np.asarray(difference_S, dtype=float)
    known = known[~np.isnan(known)]
    return float(np.mean((known > 0) + 0.5 * (known == 0))) if known.size else float("nan")
