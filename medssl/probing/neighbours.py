"""Nearest neighbours in frozen features. N cases, D features, K classes.

Neighbours by cosine of standardised features vote with weight exp(cosine / 0.07) (Wu et al. 2018, section 3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medssl.probing import choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.probing.choice import Scaling, Score

TEMPERATURE = 0.07
GRID = (1, 5, 20, 100)  # neighbours


class Neighbours(NamedTuple):
    """The training cases, which vote."""

    scaling: Scaling
    unit: np.ndarray  # (N,D), of length 1
    truth: np.ndarray  # (N,K) zeros and ones
    k: int

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        """The weighted share (M,K) of each class among the `k` nearest training cases (all if there are fewer)."""
        cosine = _unit(self.scaling(x_ND)) @ self.unit.T
        k = min(self.k, len(self.unit))
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        weight = np.exp((np.take_along_axis(cosine, nearest, 1) - 1) / TEMPERATURE)
        return np.einsum("nk,nkc->nc", weight / weight.sum(1, keepdims=True), self.truth[nearest].astype(float))


def fit(
    x_ND: np.ndarray,
    y_NK: np.ndarray,
    val_x: np.ndarray | None = None,
    val_y: np.ndarray | None = None,
    *,
    multilabel: bool = False,
    grid: Sequence[int] = GRID,
    score: Score = choice.accuracy,
) -> Neighbours:
    """Keep training features (N,D) and zeros and ones (N,K); the number of neighbours is the best on validation cases.

    `multilabel` has no effect: each class has its own share anyway. Raises `InputError` without training cases.
    """
    choice.check(x_ND, y_NK)
    scaling = choice.scaling(x_ND)
    unit = _unit(scaling(x_ND))
    numbers = sorted({min(k, len(unit)) for k in grid})
    return choice.best([Neighbours(scaling, unit, np.asarray(y_NK), k) for k in numbers], val_x, val_y, score)


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)
