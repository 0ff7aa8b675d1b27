"""Scores of predicted probabilities over a set of cases. N cases, K classes."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


def auc(probability_NK: np.ndarray, truth_NK: np.ndarray) -> list[float]:
    """Area under the ROC curve of each class against the rest; NaN where all N cases agree on the class."""
    return [_ranked(roc_auc_score, p, t) for p, t in zip(probability_NK.T, truth_NK.T, strict=True)]


def average_precision(probability_NK: np.ndarray, truth_NK: np.ndarray) -> list[float]:
    """Area under the precision-recall curve of each class; NaN where all N cases agree on the class."""
    return [_ranked(average_precision_score, p, t) for p, t in zip(probability_NK.T, truth_NK.T, strict=True)]


def balanced_accuracy(predicted_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Mean recall of the classes that occur in `truth_N`."""
    return float(np.mean([np.mean(predicted_N[truth_N == value] == value) for value in np.unique(truth_N)]))


def _ranked(score: object, probability_N: np.ndarray, truth_N: np.ndarray) -> float:
    both = 0 < truth_N.sum() < len(truth_N)
    return float(score(truth_N, probability_N)) if both and callable(score) else float("nan")
