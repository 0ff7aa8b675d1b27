"""How many labels pretraining saves: the number of labels with which training from scratch scores as well.

The scratch curve is over log2(labels) and made monotone by the running maximum of its means; beyond the measured
numbers of labels, only a bound is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class LabelsSaved(NamedTuple):
    """The labels scratch needs to score as well as the pretrained network with `labels`."""

    labels: float  # n: labels of the pretrained network
    reached: float  # N: labels that scratch needs; a bound if `bound` is not empty
    bound: str  # "", "<=" (scratch is as good with the fewest) or ">" (not even with the most)

    @property
    def saved(self) -> float:
        """N - n, a bound as `reached` is."""
        return self.reached - self.labels

    @property
    def factor(self) -> float:
        """N / n."""
        return self.reached / self.labels

    @property
    def share(self) -> float:
        """(N - n) / N: the share of the labels that pretraining saves."""
        return self.saved / self.reached

    def __str__(self) -> str:
        return f"{self.bound} {self.reached:.4g}".strip()


def labels_reaching(labels_L: Sequence[float], scores_L: np.ndarray, target: float) -> float:
    """N(target) on the scratch curve: -inf if the fewest labels are enough, inf if the most are not.

    Args:
        labels_L: numbers of labels, in ascending order.
        scores_L: mean score of scratch with each.
        target: the score to reach.
    """
    amounts, curve = np.log2(np.asarray(labels_L, dtype=float)), np.maximum.accumulate(np.asarray(scores_L, float))
    if len(amounts) != len(curve) or (np.diff(amounts) <= 0).any():
        raise ValueError(f"each of ascending numbers of labels needs a score, not {labels_L} and {scores_L}")
    if target <= curve[0]:
        return float("-inf")
    if target > curve[-1]:
        return float("inf")
    right = int(np.searchsorted(curve, target))  # the first number that reaches it
    share = (target - curve[right - 1]) / (curve[right] - curve[right - 1])
    return float(2 ** (amounts[right - 1] + share * (amounts[right] - amounts[right - 1])))


def labels_saved(labels_L: Sequence[float], scores_L: np.ndarray, target: float, labels: float) -> LabelsSaved:
    """Compare scratch, with means `scores_L` at `labels_L`, to the `target` that pretraining reached with `labels`."""
    return _bounded(labels_L, labels_reaching(labels_L, scores_L, target), labels)


def labels_saved_interval(
    labels_L: Sequence[float], scores_BL: np.ndarray, target_B: np.ndarray, labels: float, level: float = 0.95
) -> tuple[LabelsSaved, LabelsSaved]:
    """Both limits, from resamples of the scratch curve (B,L) and the pretrained score (B,), drawn together.

    A limit is a bound if more than (1 - level) / 2 of the resamples lie beyond the measured numbers.
    """
    found = [labels_reaching(labels_L, scores, y) for scores, y in zip(scores_BL, target_B, strict=True)]
    tails = np.quantile(found, [0.5 * (1 - level), 0.5 * (1 + level)], method="inverted_cdf")
    low, high = (_bounded(labels_L, float(limit), labels) for limit in tails)
    return low, high


def _bounded(labels_L: Sequence[float], reached: float, labels: float) -> LabelsSaved:
    if np.isinf(reached):
        return LabelsSaved(labels, labels_L[-1], ">") if reached > 0 else LabelsSaved(labels, labels_L[0], "<=")
    return LabelsSaved(labels, reached, "")
