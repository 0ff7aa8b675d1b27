"""Lesion-wise Dice and HD95 as in the BraTS 2023 challenges (their `metrics.py`).

A reference lesion is a group of components whose dilations touch; all predicted components that touch the dilated
lesion together are its prediction. The sums of Dice and HD95 are divided by lesions + false positives, which score
Dice 0 and a fixed distance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from medssl.metrics.surface import hausdorff

if TYPE_CHECKING:
    from collections.abc import Sequence

WORST_MM = 374.0  # HD95 of a missed lesion and of a false positive


class LesionWise(NamedTuple):
    """Means over lesions and false positives; Dice 1 and HD95 0 if there is neither."""

    dice: float
    hd95: float
    lesions: int
    false: int


def lesion_wise(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], *, dilations: int = 3, least_mm3: float = 50.0
) -> LesionWise:
    """Score two binary masks (*S) in mm.

    Args:
        prediction: the predicted mask.
        truth: the reference mask.
        spacing: mm, index order.
        dilations: 3 for glioma, sub-Saharan and paediatric tumours, 1 for meningioma and metastases.
        least_mm3: lesions of this volume or less do not count, nor do their predictions; 2 for metastases.
    """
    full = ndimage.generate_binary_structure(truth.ndim, truth.ndim)
    grown = ndimage.binary_dilation(truth, ndimage.generate_binary_structure(truth.ndim, 2), dilations)
    groups, count = ndimage.label(grown, full)
    parts, found = ndimage.label(prediction, full)
    scores, taken = [], set()
    for lesion in range(1, count + 1):
        zone = groups == lesion
        touching = set(np.unique(parts[zone]).tolist()) - {0}
        taken |= touching
        reference = zone & truth.astype(bool)
        if reference.sum() * math.prod(spacing) > least_mm3:
            scores.append(_pair(np.isin(parts, list(touching)), reference, spacing))
    false = found - len(taken)
    if not scores and not false:
        return LesionWise(1.0, 0.0, 0, 0)
    dice, distance = (sum(values) for values in zip(*scores, strict=True)) if scores else (0.0, 0.0)
    total = len(scores) + false
    return LesionWise(dice / total, (distance + false * WORST_MM) / total, len(scores), false)


def _pair(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    if not prediction.any():
        return 0.0, WORST_MM
    dice = 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())
    return float(dice), hausdorff(prediction, reference, spacing, variant="deepmind")
