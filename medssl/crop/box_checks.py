"""Checks for ContrastiveCrop: settings out of range are refused, boxes that hardly change the crops are warned of."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

MOSTLY_FULL = 0.9  # share of boxes as large as the image or the body above which to warn
FEW_GUIDED = 0.1  # share of crops that the boxes change below which to warn


def check_settings(alpha: float, rule: Mapping[str, Any]) -> None:
    """Raise InputError for `alpha` or settings of the box (`rule`) out of range."""
    if not (alpha > 0 and math.isfinite(alpha)):
        raise InputError(f"crop.alpha is {alpha}: give a positive number (0.6 in the paper, 1 is uniform)")
    if not 0 <= rule["threshold"] < 1:
        raise InputError(
            f"crop.threshold is {rule['threshold']}: heat maps are scaled to 0..1, give a number from 0 to below 1"
        )
    if not 0 <= rule["min_side"] <= 1:
        raise InputError(f"crop.min_side is {rule['min_side']}: it is a share of the side; give a number from 0 to 1")
    if rule["percentile"] is not None and not 0 <= rule["percentile"] < 100:
        raise InputError(f"crop.percentile is {rule['percentile']}: give a number from 0 to below 100, or null")


def warn_of_boxes(full: Tensor, silent: Tensor, crops: float) -> None:
    """Warn if heat maps gave no box, or if the boxes hardly change the crops.

    `full` (N,) marks boxes as large as they can be, `silent` (N,) heat maps without a box; `crops` is the share of
    crops that the boxes change.
    """
    if silent.any():
        warnings.warn(
            f"{int(silent.sum())} of {len(silent)} heat maps are constant, not finite or nowhere above the threshold: "
            "their crops are drawn from the whole image",
            stacklevel=3,
        )
    if (share := full.double().mean().item()) > MOSTLY_FULL:
        warnings.warn(
            f"{share:.0%} of the crop boxes are as large as the image or the body, so ContrastiveCrop does little: "
            "raise crop.threshold (0.3 or 0.5) or set crop.percentile",
            stacklevel=3,
        )
    elif crops < FEW_GUIDED:
        warnings.warn(
            f"ContrastiveCrop changes only {crops:.0%} of the crops because they are almost as large as the image: "
            "lower crop.scale (3D: [0.05, 0.5]) or raise crop.threshold",
            stacklevel=3,
        )
