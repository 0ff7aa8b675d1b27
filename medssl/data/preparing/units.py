"""Whether stored values are what a preset takes them for, and what they look like if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

NARROW = 4.0  # a range of values this small was scaled by somebody
BYTE = 255
AIR = -900.0  # HU below which is air or padding
SOFT = (-200.0, 300.0)  # HU of soft tissue, fat and blood
PADDING = (-1500.0, -100.0)  # a lowest value beyond or above these is no air: it fills what was not scanned
OUT_OF_VIEW = 1000  # a raw CT reaches over this, where water is 1024; a narrow window of HU does not
ADVICE = "say what they are with --rescale SLOPE,INTERCEPT"


def rescaled(array: np.ndarray, rescale: Sequence[float] | None) -> np.ndarray:
    """Slope times the stored values plus intercept, as float32; as they are where none is given."""
    if rescale is None:
        return array
    slope, intercept = rescale
    return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def check_hounsfield(array: np.ndarray) -> None:
    """Raise `Rejected` for values that are no Hounsfield units, with what they look like and the way out.

    Hounsfield units reach below 0, for there is fat, lung or air in every CT, and over a wider range than 4.
    """
    low, high = float(array.min()), float(array.max())
    if high - low <= NARROW:
        kind, example = ("[-1, 1]", "1000,0 if -1 and 1") if low < 0 else ("[0, 1]", "2000,-1000 if 0 and 1")
        raise Rejected(
            f"values scaled to {kind} are no Hounsfield units: {ADVICE}, e.g. {example} stand for -1000 and 1000 HU"
        )
    if low >= 0 and high <= BYTE:
        raise Rejected(
            f"values from 0 to 255 are no Hounsfield units: {ADVICE}, e.g. 7.843,-1000 if 0 and 255 stand for -1000 "
            "and 1000 HU, or 1,0 if they are Hounsfield units"
        )
    padded = low < PADDING[0] or PADDING[1] < low < 0
    if low >= 0 or (padded and float(array[array > low].min()) >= 0 and high > OUT_OF_VIEW):
        raise Rejected(
            "values from 0 up look like CT values before their rescaling, not like Hounsfield units: say --rescale "
            "1,-1024 if 1024 is water, or --rescale 1,0 if they are Hounsfield units"
        )


def looks_like_ct(array: np.ndarray) -> bool:
    """Whether values are distributed as the Hounsfield units of a CT are: air, soft tissue, nothing out of bounds."""
    few = array.ravel()[:: 1 + array.size // 100_000]
    low, high = float(array.min()), float(array.max())
    soft = float(np.mean((few > SOFT[0]) & (few < SOFT[1])))
    return -4096 <= low <= AIR and 0 < high < 2**15 and float(np.mean(few <= AIR)) > 0.01 and soft > 0.02
