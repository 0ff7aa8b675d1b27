"""Multi-reader multi-case analysis with training runs (seeds) as readers: interval and p of a mean difference.

Dorfman, Berbaum and Metz 1992 (Investigative Radiology 27) with the degrees of freedom of Hillis 2007 (Statistics in
Medicine 26, eq. 9), as used in reader studies in radiology. Both factors are random, so the result generalises to
other seeds and other patients, not only these networks and this test set.

With d (S,P), the paired difference of seed s in patient p:
    MS_s = P var(seed means),  MS_p = S var(patient means),  MS_e = residual mean square
    SE^2 = (MS_s + max(MS_p - MS_e, 0)) / (S P)
    df   = (MS_s + max(MS_p - MS_e, 0))^2 / (MS_s^2 / (S-1))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from medssl.metrics.statistics.groups import members

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class MRMC(NamedTuple):
    """A mean over seeds and patients; limits and p are NaN if they cannot be computed."""

    estimate: float
    low: float
    high: float
    p: float  # two-sided, of mean 0
    standard_error: float
    df: float  # infinite if the seeds do not differ
    seeds: int
    patients: int


def mrmc(values_SP: np.ndarray, level: float = 0.95) -> MRMC:
    """Mean of `values_SP` (S seeds, P patients) with interval and p, with both seeds and patients random.

    Args:
        values_SP: paired differences of two arms, or the scores of one arm (then ignore p). For a mean these are
            the means of a patient's cases (`patient_means`), for AUC, CPM or AP the pseudo-values (`jackknife`). A
            patient that is NaN for every seed (the class is absent) is left out.
        level: of the interval.

    Raises:
        ValueError: a patient has a value for some seeds only, so that seeds would differ in their patients.

    Example:
        >>> found = mrmc(np.array([[1.0, 2, 3], [2, 4, 3]]))
        >>> round(found.estimate, 3), round(found.df, 4), round(found.p, 5)
        (2.5, 2.7778, 0.03492)
    """
    values = np.asarray(values_SP, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"mrmc needs an array (seeds, patients), but the shape is {values.shape}")
    values = values[:, ~np.isnan(values).all(0)]
    if np.isnan(values).any():
        raise ValueError("a patient has a value for some seeds only: leave the patient out, or score all seeds")
    seeds, patients = values.shape
    nan = float("nan")
    estimate = float(values.mean()) if values.size else nan
    if seeds < 2 or patients < 2:
        return MRMC(estimate, nan, nan, nan, nan, nan, seeds, patients)
    error, df = _error(values)
    reach = float(stats.t.ppf(0.5 * (1 + level), df)) * error
    return MRMC(estimate, estimate - reach, estimate + reach, _p(estimate, error, df), error, df, seeds, patients)


def _error(values: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean and its degrees of freedom."""
    seeds, patients = values.shape
    by_seed, by_patient = values.mean(1), values.mean(0)
    of_seeds = patients * by_seed.var(ddof=1)
    of_patients = seeds * by_patient.var(ddof=1)
    rest = values - by_seed[:, None] - by_patient + values.mean()
    total = of_seeds + max(of_patients - (rest**2).sum() / ((seeds - 1) * (patients - 1)), 0.0)
    df = (seeds - 1) * (total / of_seeds) ** 2 if of_seeds > 0 else np.inf
    return float(np.sqrt(total / (seeds * patients))), float(df)


def _p(estimate: float, error: float, df: float) -> float:
    if error == 0:  # nothing varies: there is no difference, or its chance is unknown
        return 1.0 if estimate == 0 else float("nan")
    return float(2 * stats.t.sf(abs(estimate) / error, df))


def patient_means(values_SN: np.ndarray, groups: Sequence[Any]) -> np.ndarray:
    """Mean over the cases of each patient that are not NaN: (S,N), given the patient of each of the N cases -> (S,P).

    Patients are in the order of first occurrence; one whose cases are all NaN is NaN.
    """
    values = np.asarray(values_SN, dtype=float)
    columns = []
    for cases in members(groups):
        known = ~np.isnan(values[:, cases])
        total, count = np.where(known, values[:, cases], 0.0).sum(1), known.sum(1)
        columns.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.stack(columns, axis=1)


def jackknife(statistic: Callable[[np.ndarray], float], groups: Sequence[Any]) -> np.ndarray:
    """Pseudo-values (P,) of `statistic(indices)`, leaving out one patient at a time; see `pseudo_values`."""
    cases = members(groups)
    everyone = np.arange(len(groups))
    full = float(statistic(everyone))
    if len(cases) < 2:
        return np.full(len(cases), full)
    without = [statistic(np.setdiff1d(everyone, own)) for own in cases]
    return pseudo_values(full, np.array(without, dtype=float))


def pseudo_values(full: float, without_P: np.ndarray) -> np.ndarray:
    """What each patient contributes to a score (P,), from the score of all and the scores without each patient.

    P θ - (P-1) θ(without p), shifted so that their mean is θ itself (normalised pseudo-values: Hillis et al. 2005,
    Statistics in Medicine 24). All NaN if the score cannot be computed without some patient, such as the only positive
    one.
    """
    patients = len(without_P)
    pseudo = patients * full - (patients - 1) * np.asarray(without_P, dtype=float)
    return pseudo + full - pseudo.mean()  # NaN spreads to all
