"""How sure one may be of a mean or a difference: bootstrap intervals and a permutation test.

Intervals are percentile intervals (Efron and Tibshirani 1993, chapter 13). What is resampled is what was drawn at
random: patients (all cases of a drawn patient come with it), and seeds of runs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Interval(NamedTuple):
    """An estimate with its limits."""

    estimate: float
    low: float
    high: float


def grouped_interval(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Any],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Bootstrap of `statistic(indices)` over whole groups (patients): each resample draws as many groups as there are.

    NaN resamples (an AUC without both classes) are left out; both limits are NaN when fewer than two groups exist.
    """
    members = _members(groups)
    estimate = float(statistic(np.arange(len(groups))))
    if len(members) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    draws = rng.integers(len(members), size=(resamples, len(members)))
    values = [statistic(np.concatenate([members[i] for i in draw])) for draw in draws]
    return Interval(estimate, *_limits(np.asarray(values, dtype=float), level))


def two_level_interval(
    statistics: Sequence[Callable[[np.ndarray], float]],
    groups: Sequence[Any],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Bootstrap of the mean over seeds of `statistics[seed](indices)`: seeds and groups are both resampled.

    The run noise is in the interval. For a difference of two arms, each statistic is the difference of the two runs of
    one seed. With one seed only the groups are resampled.
    """
    members, seeds = _members(groups), len(statistics)
    estimate = _nanmean(np.array([statistic(np.arange(len(groups))) for statistic in statistics]))
    values = []
    for _ in range(resamples):
        cases = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        drawn = Counter(rng.integers(seeds, size=seeds).tolist())
        found = np.array([statistics[seed](cases) for seed in drawn])
        values.append(float(np.average(found, weights=list(drawn.values()))))
    return Interval(estimate, *_limits(np.asarray(values), level))


def permutation_test(difference_N: np.ndarray, rng: np.random.Generator, *, resamples: int = 10_000) -> float:
    """Two-sided p of the paired sign-flip test of mean difference 0: all 2^N flips if they are at most `resamples`.

    Otherwise random flips, with the observed one counted (Phipson and Smyth 2010, so p is never 0).
    """
    difference_N = np.asarray(difference_N, dtype=float)
    difference_N = difference_N[~np.isnan(difference_N)]
    n = len(difference_N)
    if n == 0:
        return float("nan")
    observed = abs(difference_N.mean())
    margin = 1e-12 * max(1.0, observed)
    if 2**n <= resamples:
        flips = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        return float(np.mean(np.abs(flips @ difference_N) / n >= observed - margin))
    flips = rng.choice((1.0, -1.0), size=(resamples, n))
    reached = int(np.sum(np.abs(flips @ difference_N) / n >= observed - margin))
    return (reached + 1) / (resamples + 1)


def _members(groups: Sequence[Any]) -> list[np.ndarray]:
    names = np.asarray(groups)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())]


def _limits(values: np.ndarray, level: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
