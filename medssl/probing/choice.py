"""What all probes share: their interface, standardised features, and a strength chosen on validation cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Score = Callable[[np.ndarray, np.ndarray], float]  # of probabilities (N,K) and truth (N,K); higher is better

LEAST = 1e-7  # lower limit of probabilities in a log loss


class Probe(Protocol):
    """A fitted probe."""

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        """Probabilities (N,K) of features (N,D)."""


P = TypeVar("P", bound=Probe)


class Scaling(NamedTuple):
    """Zero mean and unit variance on the training cases; a feature that is constant there becomes zero."""

    mean: np.ndarray  # (D,)
    scale: np.ndarray  # (D,)

    def __call__(self, x_ND: np.ndarray) -> np.ndarray:
        """Standardised features (N,D) float64."""
        return (np.asarray(x_ND, np.float64) - self.mean) * self.scale


def scaling(x_ND: np.ndarray) -> Scaling:
    """Fit a `Scaling` to training features (N,D)."""
    x_ND = np.asarray(x_ND, np.float64)
    mean = x_ND.mean(0)
    std = x_ND.std(0)
    known = std > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return Scaling(mean, np.where(known, 1 / np.where(known, std, 1), 0))


def best(candidates: Sequence[P], x_ND: np.ndarray | None, y_NK: np.ndarray | None, score: Score) -> P:
    """The candidate with the highest score on validation cases (on ties the first); without them, the middle one."""
    if x_ND is None or y_NK is None or not len(x_ND):
        return candidates[len(candidates) // 2]
    return candidates[int(np.argmax([score(candidate.predict(x_ND), y_NK) for candidate in candidates]))]


def likelihood(probability_NK: np.ndarray, truth_NK: np.ndarray) -> float:
    """Mean log likelihood of the truth (zeros and ones): of the class of each case, or of each label separately."""
    p = np.clip(probability_NK, LEAST, 1 - LEAST)
    if (truth_NK.sum(1) == 1).all() and np.allclose(probability_NK.sum(1), 1, atol=1e-5):
        return float(np.log(p)[truth_NK.astype(bool)].mean())
    return float((truth_NK * np.log(p) + (1 - truth_NK) * np.log(1 - p)).mean())


def accuracy(probability_NK: np.ndarray, truth_NK: np.ndarray) -> float:
    """The share of cases whose most probable class is one of their classes."""
    return float(np.take_along_axis(np.asarray(truth_NK), probability_NK.argmax(1)[:, None], 1).mean())


def check(x_ND: np.ndarray, y_NK: np.ndarray) -> None:
    """Raise `InputError` if the training cases cannot be used."""
    if not len(x_ND):
        raise InputError("a probe needs labelled training cases, but there are none")
    if len(x_ND) != len(y_NK):
        raise InputError(
            f"a probe needs a target for each case, but there are {len(x_ND)} cases and {len(y_NK)} targets"
        )
    if not np.isfinite(x_ND).all():
        bad = int((~np.isfinite(x_ND)).any(1).sum())
        raise InputError(f"the features of {bad} of {len(x_ND)} cases are not finite: check the weights and images")
