"""Scored candidates: components of a probability map at several thresholds, or boxes from an activation map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from medssl.metrics.lesions import Candidate
from medssl.metrics.reference_lesions import components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.lesions import Region

LADDER = (0.5, 0.4, 0.3, 0.2, 0.1)
MOST = 100  # candidates per image
Score = Literal["max", "p95", "mean"]


def ladder(
    probability: np.ndarray,
    label: str,
    *,
    thresholds: Sequence[float] = LADDER,
    score: Score = "max",
    least: int = 0,
    most: int | None = MOST,
) -> tuple[Candidate, ...]:
    """Candidates of a map (*S): components at the first threshold, then at lower ones those that contain none so far.

    Args:
        probability: of one class.
        label: that class.
        thresholds: in descending order. The first gives the mask that Dice scores; lower ones add weak lesions, so that
            the FROC curve reaches its right end, without merging lesions that the first separates.
        score: how the probabilities in a component give its score.
        least: components with fewer voxels are dropped.
        most: number of candidates to keep, those with the best scores; None keeps all.

    Returns:
        The candidates with their masks, best first.
    """
    taken = np.zeros(probability.shape, bool)
    found: list[Candidate] = []
    for threshold in thresholds:
        for region in _new_components(probability >= threshold, taken):
            taken[region.window] |= region.mask
            if region.size >= least:
                found.append(Candidate(label, region, _score(probability[region.window][region.mask], score)))
    return tuple(sorted(found, key=lambda one: -one.score)[:most])


def _new_components(mask: np.ndarray, taken: np.ndarray) -> list[Region]:
    """The components of a mask without a voxel that is already taken, computed for all components at once."""
    numbered, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    fresh = np.ones(count + 1, bool)
    fresh[numbered[taken]] = False
    fresh[0] = False
    return components(fresh[numbered])


def _score(values: np.ndarray, score: Score) -> float:
    if score == "p95":
        return float(np.percentile(values, 95))
    return float(values.max() if score == "max" else values.mean())


def of_heat(
    heat: np.ndarray,
    label: str,
    threshold: float | None = None,
    *,
    scale: float = 1.0,
    most: int | None = None,
    least_share: float = 0.0,
) -> tuple[Candidate, ...]:
    """Boxes of the components of an activation map (*S), hottest first.

    Args:
        heat: non-negative, at the size of the image (upsampled before, as the peak of an upsampled map is lower).
        label: the class of the map.
        threshold: fraction of the map's peak that a voxel must reach; None uses Otsu's threshold of the map.
        scale: the score of a component is this (the probability of the class) times its peak over the map's peak.
        most: number of boxes to keep.
        least_share: components smaller than this fraction of the map are dropped.

    Returns:
        Candidates with box and mask; none for a map of zeros.
    """
    peak = float(heat.max())
    if not peak > 0:
        return ()
    relative = heat / peak
    level = threshold_otsu(relative) if threshold is None else threshold
    regions = [one for one in components(relative >= level) if one.size >= least_share * heat.size]
    found = [Candidate(label, one, scale * float(relative[one.window][one.mask].max())) for one in regions]
    return tuple(sorted(found, key=lambda one: -one.score)[:most])
