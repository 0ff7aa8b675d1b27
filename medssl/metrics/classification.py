"""Scores of predicted probabilities over a set of cases. N cases, K classes.

The classes of a macro average are fixed by the truth of the whole test set (`countable`), not by what a bootstrap
sample happens to contain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

LEAST = 5  # positive and negative cases that a class needs to count in a macro average


class DeLong(NamedTuple):
    """An AUC with DeLong's standard error and a 95% interval on the logit scale, which stays within 0 and 1."""

    auc: float
    standard_error: float
    low: float
    high: float


def countable(truth_NK: np.ndarray, least: int = LEAST) -> list[int]:
    """The classes with at least `least` positive and `least` negative cases; if there are none, those with both.

    NaN in `truth_NK` is an unknown truth, here as in all that follows.
    """
    fewest = np.minimum((truth_NK == 1).sum(0), (truth_NK == 0).sum(0))
    enough = fewest >= least if (fewest >= least).any() else fewest > 0
    return np.flatnonzero(enough).tolist()


def known(probability_NK: np.ndarray, truth_NK: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Probability and truth of each class, of the cases whose truth is known."""
    pairs = zip(probability_NK.T, np.asarray(truth_NK, dtype=float).T, strict=True)
    return [(p[~np.isnan(t)], t[~np.isnan(t)]) for p, t in pairs]


def auc(probability_NK: np.ndarray, truth_NK: np.ndarray) -> list[float]:
    """Area under the ROC curve of each class against the rest; NaN if all N cases have, or lack, the class."""
    return [_auc(p, t) for p, t in known(probability_NK, truth_NK)]


def average_precision(probability_NK: np.ndarray, truth_NK: np.ndarray) -> list[float]:
    """Area under the precision-recall curve of each class; NaN if all N cases have, or lack, the class."""
    return [_average_precision(p, t) for p, t in known(probability_NK, truth_NK)]


def balanced_accuracy(predicted_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Mean recall of the classes that occur in `truth_N`."""
    return float(np.mean([np.mean(predicted_N[truth_N == value] == value) for value in np.unique(truth_N)]))


def delong(probability_N: np.ndarray, truth_N: np.ndarray) -> DeLong:
    """AUC of one class with its standard error over cases (DeLong et al. 1988), to check the bootstrap.

    It assumes independent cases: if patients have several cases, resample patients instead. The limits are NaN if the
    scores separate the classes completely.
    """
    truth = truth_N.astype(bool)
    area = _auc(probability_N, truth)
    positive, negative = probability_N[truth], probability_N[~truth]
    if min(len(positive), len(negative)) < 2:
        return DeLong(area, *[float("nan")] * 3)
    higher = rankdata(np.concatenate([positive, negative])) - np.concatenate([rankdata(positive), rankdata(negative)])
    of_positive, of_negative = higher[: len(positive)] / len(negative), 1 - higher[len(positive) :] / len(positive)
    error = float(np.sqrt(of_positive.var(ddof=1) / len(positive) + of_negative.var(ddof=1) / len(negative)))
    if not 0 < area < 1:
        return DeLong(area, error, *[float("nan")] * 2)
    centre, reach = np.log(area / (1 - area)), stats.norm.ppf(0.975) * error / (area * (1 - area))
    low, high = (float(1 / (1 + np.exp(-limit))) for limit in (centre - reach, centre + reach))
    return DeLong(area, error, low, high)


def _auc(probability_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Mann-Whitney: (sum of the positives' ranks - n(n+1)/2) / (n m); 30 times faster than a curve, for bootstraps."""
    positive = int(truth_N.sum())
    pairs = positive * (len(truth_N) - positive)
    if pairs == 0:
        return float("nan")
    ranks = rankdata(probability_N)[truth_N.astype(bool)]
    return float((ranks.sum() - positive * (positive + 1) / 2) / pairs)


def _average_precision(probability_N: np.ndarray, truth_N: np.ndarray) -> float:
    both = 0 < truth_N.sum() < len(truth_N)
    return float(average_precision_score(truth_N, probability_N)) if both else float("nan")
