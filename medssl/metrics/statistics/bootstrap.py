"""Bootstrap intervals over patients, for one network on one test set.

The simple percentile interval is too narrow for few patients: it lacks the factor sqrt(n / (n-1)) and uses the normal
instead of the t distribution. The expanded percentile interval (Hesterberg 2015, The American Statistician 69(4),
section 4.3) uses the percentiles at Phi(-sqrt(n / (n-1)) t(n-1)). With fewer than about 30 patients, even its coverage
is too low for skewed values (Dice with missed lesions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from medssl.metrics.statistics.groups import members

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
    """Expanded percentile bootstrap of `statistic(indices)` over whole patients.

    Args:
        statistic: the score of the cases with the given indices, which may repeat.
        groups: the patient of each of the N cases.
        rng: the only source of randomness.
        level: confidence level of the interval.
        resamples: number of bootstrap samples; each draws as many patients as there are.

    NaN resamples (an AUC without both classes) are left out; both limits are NaN with fewer than two patients.
    """
    cases = members(groups)
    estimate = float(statistic(np.arange(len(groups))))
    if len(cases) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    draws = rng.integers(len(cases), size=(resamples, len(cases)))
    values = [statistic(np.concatenate([cases[i] for i in draw])) for draw in draws]
    return Interval(estimate, *expanded_interval(np.asarray(values, dtype=float), len(cases), level))


def expanded_interval(values_B: np.ndarray, patients: int, level: float = 0.95) -> tuple[float, float]:
    """The limits of `level` from bootstrap values of a statistic of `patients` independent patients; see the module."""
    if patients < 2:
        return float("nan"), float("nan")
    t = stats.t.ppf(0.5 * (1 + level), patients - 1)
    return _percentiles(values_B, float(stats.norm.cdf(-np.sqrt(patients / (patients - 1)) * t)))


def patient_weights(patients: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient occurs in each bootstrap sample, (B,P) float: each row sums to P.

    This is all that a score needs that is a ratio of sums over patients (sensitivity, FROC).
    """
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples).astype(float)


def _percentiles(values: np.ndarray, tail: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
