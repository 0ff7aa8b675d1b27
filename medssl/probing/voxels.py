"""Linear discriminant analysis of voxels with a shrunken covariance: a linear classifier in closed form.

A fit needs only sums over voxels of its images, so memory does not grow with the number of voxels, and the sums of
an image serve many fits (Hastie et al. 2009, section 4.3; shrinkage towards the mean variance as in Ledoit and Wolf
2004).
D features, K classes including background, *G a grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHRINKAGE = (0.01, 0.1, 0.5, 0.9)
PRIOR = (1.0, 0.5, 0.0)
DEFAULT = (0.5, 1.0)  # shrinkage and prior without validation images


class Moments(NamedTuple):
    """Sums over the voxels of each class."""

    number: np.ndarray  # (K,) of voxels
    total: np.ndarray  # (K,D)
    outer: np.ndarray  # (D,D), over all classes together

    def __add__(self, other: Moments) -> Moments:  # type: ignore[override]
        """The sums of both."""
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))


class Discriminant(NamedTuple):
    """A fitted linear map of features to log probabilities, up to a constant."""

    weight: np.ndarray  # (D,K)
    bias: np.ndarray  # (K,)
    shrinkage: float
    prior: float

    def predict(self, x_D: np.ndarray) -> np.ndarray:
        """Probabilities (K,*G) of features (D,*G)."""
        logits = x_D.reshape(len(x_D), -1).T.astype(np.float64) @ self.weight + self.bias
        return softmax(logits, axis=1).T.reshape(-1, *x_D.shape[1:])


def moments(x_D: np.ndarray, label: np.ndarray, classes: int) -> Moments:
    """The moments of features (D,*G) and a label (*G) of integers below `classes`."""
    x_MD, y = x_D.reshape(len(x_D), -1).T.astype(np.float64), label.ravel()
    one_hot = (y[:, None] == np.arange(classes)).astype(np.float64)
    return Moments(one_hot.sum(0), one_hot.T @ x_MD, x_MD.T @ x_MD)


def fit(
    found: Moments, *, shrinkage: Sequence[float] = SHRINKAGE, prior: Sequence[float] = PRIOR
) -> list[Discriminant]:
    """A discriminant for each pair of `shrinkage` (0..1, of the covariance within classes) and `prior`.

    `prior` is the exponent of the class frequencies: 1 takes them as they are, 0 as equal. Features are standardised
    on these voxels. A class without a voxel is never predicted. Raises `InputError` without any voxel.
    """
    count, total, outer = found
    every = count.sum()
    if not every:
        raise InputError("a dense probe needs labelled training images, but there are none")
    mean = total.sum(0) / every
    covariance = outer / every - np.outer(mean, mean)
    scale = _inverse(np.sqrt(np.maximum(np.diag(covariance), 0)), mean)
    with np.errstate(divide="ignore"):
        shares = np.log(count / every)
    means = (total / np.maximum(count, 1)[:, None] - mean) * scale * (count > 0)[:, None]
    within = covariance * np.outer(scale, scale) - (means.T * (count / every)) @ means
    level = max(np.trace(within) / len(within), 1e-12)
    discriminants = []
    for part in shrinkage:
        weight = cho_solve(cho_factor((1 - part) * within + (part * level + 1e-9) * np.eye(len(within))), means.T)
        shift = -0.5 * np.einsum("kd,dk->k", means, weight) - (mean * scale) @ weight
        for power in prior:
            bias = np.where(count > 0, shift + power * np.where(count > 0, shares, 0), -np.inf)
            discriminants.append(Discriminant(scale[:, None] * weight, bias, part, power))
    return discriminants


def _inverse(std: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """1 / std, and 0 for a feature that is constant."""
    known = std > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return np.where(known, 1 / np.where(known, std, 1), 0)
