"""Scores of one predicted mask against its reference, class by class.

Empty classes: absent from both masks says nothing, so every score is NaN and means leave it out; present in one only
is the worst score (Dice 0, surface Dice 0, distance = diagonal of the volume).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice

if TYPE_CHECKING:
    from collections.abc import Sequence


class Surface(NamedTuple):
    """Distances between the two surfaces of one class."""

    hd95: float  # 95th percentile Hausdorff distance, mm
    nsd: float  # normalised surface Dice: share of both surfaces within the tolerance


def dice(prediction: np.ndarray, label: np.ndarray, classes: int) -> list[float]:
    """Dice coefficient `2|P∩L| / (|P|+|L|)` of the values 1..classes of two integer masks (*S)."""
    return [_dice(prediction == value, label == value) for value in range(1, classes + 1)]


def _dice(prediction: np.ndarray, label: np.ndarray) -> float:
    total = int(prediction.sum()) + int(label.sum())
    return 2.0 * int((prediction & label).sum()) / total if total else float("nan")


def surface(
    prediction: np.ndarray, label: np.ndarray, classes: int, spacing: Sequence[float], tolerance: float
) -> list[Surface]:
    """Surface distances of the values 1..classes of two integer masks (*S); `spacing` and `tolerance` in mm."""
    values = range(1, classes + 1)
    return [_surface(prediction == value, label == value, spacing, tolerance) for value in values]


def _surface(prediction: np.ndarray, label: np.ndarray, spacing: Sequence[float], tolerance: float) -> Surface:
    if not prediction.any() and not label.any():
        return Surface(float("nan"), float("nan"))
    if not prediction.any() or not label.any():
        return Surface(float(np.linalg.norm(np.multiply(label.shape, spacing))), 0.0)
    pair = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, label)]
    steps = [float(step) for step in spacing]
    hd95 = compute_hausdorff_distance(pair[0], pair[1], include_background=True, percentile=95, spacing=steps)
    nsd = compute_surface_dice(pair[0], pair[1], [tolerance], include_background=True, spacing=steps)
    return Surface(float(hd95), float(nsd))
