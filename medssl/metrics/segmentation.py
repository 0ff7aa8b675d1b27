"""Scores of one predicted mask against its reference, class by class.

The reference alone decides whether a class is absent: then it has no Dice, NSD or HD95 (NaN, left out of means),
whatever was predicted, so that two networks are always averaged over the same cases. What was predicted of an absent
class is reported separately (`false_alarms`). A class that is present but not found has Dice 0, NSD 0, and as HD95 the
diagonal of the volume.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from medssl.metrics.reference_lesions import components
from medssl.metrics.surface import hausdorff, surface_dice

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


class Surface(NamedTuple):
    """Distances between the two surfaces of one class."""

    hd95: float  # 95th percentile Hausdorff distance, mm (`surface.hausdorff`, variant "monai")
    nsd: float  # normalised surface Dice: share of both surfaces within the tolerance


class FalseAlarm(NamedTuple):
    """The prediction of a class that is absent in the reference."""

    voxels: int
    volume: float  # ml, in 2D mm2
    components: int


def dice(prediction: np.ndarray, label: np.ndarray, classes: int) -> list[float]:
    """Dice coefficient `2|P∩L| / (|P|+|L|)` of the values 1..classes of two integer masks (*S); NaN if absent in L."""
    return [_dice(prediction == value, label == value) for value in range(1, classes + 1)]


def _dice(prediction: np.ndarray, label: np.ndarray) -> float:
    if not label.any():
        return float("nan")
    return 2.0 * int((prediction & label).sum()) / (int(prediction.sum()) + int(label.sum()))


def surface(
    prediction: np.ndarray, label: np.ndarray, classes: int, spacing: Sequence[float], tolerance: float
) -> list[Surface]:
    """Surface distances of the values 1..classes of two integer masks (*S); `spacing` and `tolerance` in mm."""
    values = range(1, classes + 1)
    return [_surface(prediction == value, label == value, spacing, tolerance) for value in values]


def _surface(prediction: np.ndarray, label: np.ndarray, spacing: Sequence[float], tolerance: float) -> Surface:
    if not label.any():
        return Surface(float("nan"), float("nan"))
    return Surface(hausdorff(prediction, label, spacing), surface_dice(prediction, label, spacing, tolerance))


def false_alarms(
    prediction: np.ndarray, label: np.ndarray, classes: int, spacing: Sequence[float]
) -> list[FalseAlarm | None]:
    """The predictions of the values 1..classes that are absent in the reference; None for those that are present."""
    values = range(1, classes + 1)
    return [None if (label == value).any() else _false_alarm(prediction == value, spacing) for value in values]


def _false_alarm(prediction: np.ndarray, spacing: Sequence[float]) -> FalseAlarm:
    voxels = int(prediction.sum())
    volume = voxels * math.prod(spacing) / (1000 if prediction.ndim == 3 else 1)
    return FalseAlarm(voxels, volume, len(components(prediction)))
