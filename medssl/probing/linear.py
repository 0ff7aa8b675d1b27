"""Logistic regression on frozen features. N cases, D features, K classes.

C, the inverse strength of the L2 penalty as in scikit-learn, is the value of a grid that is best on validation cases;
without validation cases, the middle of the grid.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit, logit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from medssl.probing import choice
from medssl.probing.choice import Scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.probing.choice import Score

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # weaker penalties were never chosen, and take most of the time
ITERATIONS = 1000
TOLERANCE = 1e-6  # scikit-learn's default leaves an error in the third digit of a probability


class Logistic(NamedTuple):
    """A fitted regression: one softmax over classes, or (multilabel) one sigmoid per class."""

    scaling: Scaling
    weight: np.ndarray  # (D,K), of standardised features
    bias: np.ndarray  # (K,)
    multilabel: bool
    C: float

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        """Probabilities (N,K)."""
        logits = self.scaling(x_ND) @ self.weight + self.bias
        return expit(logits) if self.multilabel else softmax(logits, axis=1)


def fit(
    x_ND: np.ndarray,
    y_NK: np.ndarray,
    val_x: np.ndarray | None = None,
    val_y: np.ndarray | None = None,
    *,
    multilabel: bool = False,
    grid: Sequence[float] = GRID,
    score: Score = choice.likelihood,
) -> Logistic:
    """Fit training features (N,D) and zeros and ones (N,K) at each C of `grid`; keep the best on validation cases.

    Features are standardised on the training cases only. A class without a training case gets probability 0, or
    (multilabel) 1 / (2 N). Raises `InputError` without training cases.
    """
    choice.check(x_ND, y_NK)
    return choice.best(path(x_ND, y_NK, multilabel=multilabel, grid=grid), val_x, val_y, score)


def path(
    x_ND: np.ndarray, y_NK: np.ndarray, *, multilabel: bool = False, grid: Sequence[float] = GRID
) -> list[Logistic]:
    """The regression at each C of `grid`.

    The penalty keeps the weights in the span of the training cases. With fewer cases than features, it is enough to
    fit coordinates in that span: the same solution at a fraction of the cost.
    """
    scaling = choice.scaling(x_ND)
    x = scaling(x_ND)
    back = np.eye(x.shape[1])
    if len(x) < x.shape[1]:
        left, size, back = np.linalg.svd(x, full_matrices=False)
        x = left * size
    solve = _sigmoids if multilabel else _softmax
    return [
        Logistic(scaling, back.T @ weight, bias, multilabel, C)
        for C, (weight, bias) in zip(grid, solve(x, np.asarray(y_NK), grid), strict=True)
    ]


def _softmax(x: np.ndarray, y_NK: np.ndarray, grid: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    classes, present = y_NK.argmax(1), np.flatnonzero(y_NK.any(0))
    found = []
    for small, shift in _solutions(x, classes, grid):
        weight, bias = np.zeros((x.shape[1], y_NK.shape[1])), np.full(y_NK.shape[1], -np.inf)
        weight[:, present], bias[present] = small, shift
        found.append((weight, bias))
    return found


def _sigmoids(x: np.ndarray, y_NK: np.ndarray, grid: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    columns = [_sigmoid(x, truth, grid) for truth in y_NK.T]
    return [
        (np.stack([weight for weight, _ in of_C], 1), np.array([bias for _, bias in of_C]))
        for of_C in zip(*columns, strict=True)
    ]


def _sigmoid(x: np.ndarray, truth_N: np.ndarray, grid: Sequence[float]) -> list[tuple[np.ndarray, float]]:
    if truth_N.min() == truth_N.max():
        share = (truth_N.sum() + 0.5) / (len(truth_N) + 1)
        return [(np.zeros(x.shape[1]), float(logit(share)))] * len(grid)
    return [(w[:, 1] - w[:, 0], float(b[1] - b[0])) for w, b in _solutions(x, truth_N.astype(int), grid)]


def _solutions(x: np.ndarray, classes_N: np.ndarray, grid: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (D,P) and bias (P,) for the P classes that occur, at each C; each solution is the start of the next."""
    count = len(np.unique(classes_N))
    if count == 1:
        return [(np.zeros((x.shape[1], 1)), np.zeros(1))] * len(grid)
    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    found = []
    for C in grid:
        model.set_params(C=C)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly separable at a large C: close enough
            model.fit(x, classes_N)
        weight, bias = model.coef_.T, model.intercept_
        if count == 2:  # with two classes there is one column, for their difference
            weight, bias = np.concatenate([-weight, weight], 1) / 2, np.concatenate([-bias, bias]) / 2
        found.append((weight.copy(), bias.copy()))
    return found
