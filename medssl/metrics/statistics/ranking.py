"""Mean rank of inits over tasks, with limits for random runs and patients."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import rankdata

from medssl.metrics.statistics.bootstrap import patient_weights

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ranking(NamedTuple):
    """For each init, as arrays (I,): mean rank over tasks (1 is best), its limits, and how often it comes first."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: np.ndarray  # share of the resamples in which its mean rank is the best; a tie is shared


def mean_ranks(scores_IT: np.ndarray) -> np.ndarray:
    """Mean over tasks of the rank of each init: (...,I,T) -> (...,I). The highest score is rank 1; ties share."""
    return rankdata(-np.asarray(scores_IT, dtype=float), axis=-2).mean(-1)


def ranking(
    tasks: Sequence[np.ndarray], rng: np.random.Generator, *, level: float = 0.95, resamples: int = 10_000
) -> Ranking:
    """Mean ranks with percentile limits: in every task, seeds and patients are resampled, the same for all inits.

    Args:
        tasks: for each of T tasks the scores (I,S,P); S and P may differ between tasks. For AUC and the like these are
            pseudo-values (`jackknife`). Patients that are NaN throughout are left out.
        rng: source of randomness.
        level: confidence level of the limits.
        resamples: number of resamples.

    The tasks are not resampled: the result does not generalise to other tasks.
    """
    arrays = [_known(np.asarray(task, dtype=float)) for task in tasks]
    if len({array.shape[0] for array in arrays}) != 1:
        counts = [array.shape[0] for array in arrays]
        raise ValueError(f"every task needs the same inits, but the tasks have {counts} of them")
    mean = mean_ranks(np.stack([array.mean((1, 2)) for array in arrays], axis=-1).astype(np.float32))
    drawn = mean_ranks(np.stack([_resampled(array, rng, resamples) for array in arrays], axis=-1))
    low, high = np.quantile(drawn, [0.5 * (1 - level), 0.5 * (1 + level)], axis=0)
    best = np.isclose(drawn, drawn.min(1, keepdims=True))
    return Ranking(mean, low, high, (best / best.sum(1, keepdims=True)).mean(0))


def _known(values_ISP: np.ndarray) -> np.ndarray:
    known = values_ISP[:, :, ~np.isnan(values_ISP).all((0, 1))]
    if np.isnan(known).any() or known.size == 0:
        raise ValueError("ranks need a score of every init and seed for the same patients: some are missing")
    return known


def _resampled(values_ISP: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means of resampled seeds and patients (B,I), rounded to float32 so that equal inits tie."""
    _, seeds, patients = values_ISP.shape
    of_seeds, of_patients = patient_weights(seeds, resamples, rng), patient_weights(patients, resamples, rng)
    sums = [((of_seeds @ values) * of_patients).sum(1) for values in values_ISP]
    return (np.stack(sums, axis=1) / (seeds * patients)).astype(np.float32)
