"""Calibration: whether predicted probabilities match observed frequencies. N cases, K classes."""

from __future__ import annotations

import numpy as np
import torch
from monai.metrics.calibration import CalibrationErrorMetric

BINS = 15


def calibration_error(probability_N: np.ndarray, truth_N: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of one class: sum over equal bins (right-closed) of n_b / n |truth - probability|.

    As MONAI's `CalibrationErrorMetric`. It is biased upwards with few cases: report `brier` too. NaN without cases.
    """
    if len(probability_N) == 0:
        return float("nan")
    metric = CalibrationErrorMetric(num_bins=bins)
    pair = [torch.from_numpy(np.asarray(one, dtype=np.float32))[None, None] for one in (probability_N, truth_N)]
    metric(*pair)
    found = metric.aggregate()
    assert isinstance(found, torch.Tensor)
    return float(found)


def top_label_error(probability_NK: np.ndarray, truth_N: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the predicted class (Guo et al. 2017): its probability against its accuracy.

    `truth_N` has the class index of each case.
    """
    predicted = probability_NK.argmax(1)
    return calibration_error(probability_NK.max(1), predicted == truth_N, bins)


def brier(probability_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Mean squared difference of probability and truth of one class (Brier 1950); NaN without cases."""
    difference = np.asarray(probability_N, dtype=float) - np.asarray(truth_N, dtype=float)
    return float((difference**2).mean()) if difference.size else float("nan")
