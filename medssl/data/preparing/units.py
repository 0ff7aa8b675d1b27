"""Whether stored values are in the unit that a preset expects, and what they look like if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

NARROW = 4.0  # a range of values this small has been rescaled
BYTE = 255
AIR = -900.0  # HU below which is air or padding
SOFT = (-200.0, 300.0)  # HU of soft tissue, fat and blood
PADDING = (-1500.0, -100.0)  # a lowest value outside this range is not air, but fills what was not scanned
OUT_OF_VIEW = 1000  # a raw CT exceeds this, as its water is 1024; a narrow HU window does not
ADVICE = "say what they are with --rescale SLOPE,INTERCEPT"


def rescaled(array: np.ndarray, rescale: Sequence[float] | None) -> np.ndarray:
    """Slope times the stored values plus intercept, as float32; unchanged if none is given."""
    if rescale is None:
        return array
    slope, intercept = rescale
    return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def check_hounsfield(array: np.ndarray) -> None:
    """Raise `Rejected` for values that are not Hounsfield units, saying what they look like and what to do.

    Hounsfield units go below 0, as every CT shows fat, lung or air, and span more than 4.
    """
    low, high = float(array.min()), float(array.max())
    if high - low <= NARROW:
        kind, example = ("[-1, 1]", "1000,0 if -1 and 1") if low < 0 else ("[0, 1]", "2000,-1000 if 0 and 1")
        raise Rejected(
            f"values scaled to {kind} are not Hounsfield units: {ADVICE}, e.g. {example} stand for -1000 and 1000 HU"
        )
    if low >= 0 and high <= BYTE:
        raise Rejected(
            f"values from 0 to 255 are not Hounsfield units: {ADVICE}, e.g. 7.843,-1000 if 0 and 255 stand for -1000 "
            "and 1000 HU, or 1,0 if they are Hounsfield units"
        )
    padded = low < PADDING[0] or PADDING[1] < low < 0
    if low >= 0 or (padded and float(array[array > low].min()) >= 0 and high > OUT_OF_VIEW):
        raise Rejected(
            "values from 0 up look like raw CT values before rescaling, not like Hounsfield units: give --rescale "
            "1,-1024 if 1024 is water, or --rescale 1,0 if they are Hounsfield units"
        )


def looks_like_ct(array: np.ndarray) -> bool:
    """Whether values are distributed like Hounsfield units: air, soft tissue, nothing out of range."""
    few = array.ravel()[:: 1 + array.size // 100_000]
    low, high = float(array.min()), float(array.max())
    soft = float(np.mean((few > SOFT[0]) & (few < SOFT[1])))
    return -4096 <= low <= AIR and 0 < high < 2**15 and float(np.mean(few <= AIR)) > 0.01 and soft > 0.02
