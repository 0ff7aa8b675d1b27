"""The settings of a cache: its preprocessing, checked, as JSON."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from medssl.data import presets
from medssl.data.grid import MARGIN_MM
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_LABEL_OPTIONS: Mapping[str, Any] = {"map": {}, "keep_small": False}


def settings(
    preset: str,
    shapes: Sequence[tuple[int, ...]],
    spacing: Sequence[float] | str | None = None,
    channels: Sequence[str] | None = None,
    window: Sequence[float] | None = None,
    rescale: Sequence[float] | None = None,
    n4: bool = False,
) -> dict[str, Any]:
    """The preprocessing of a cache as JSON; it is 2D or 3D as most of the images' `shapes` (*S) are."""
    chosen = presets.find(preset)
    dims = Counter(len(shape) for shape in shapes).most_common(1)[0][0]
    if isinstance(spacing, str) and spacing != "isotropic":
        raise InputError(f"--spacing is {spacing!r}, but must be {dims} numbers in mm, isotropic, median or like RUN")
    if spacing is not None and not isinstance(spacing, str):
        spacing = [float(mm) for mm in spacing]
        if len(spacing) != dims or not all(0 < mm < math.inf for mm in spacing):
            raise InputError(f"spacing is {spacing}, but these {dims}D images need {dims} positive numbers in mm")
    window = window or chosen.window
    if window is not None and not window[0] < window[1]:
        raise InputError(f"window is {tuple(window)}, but the first value must be below the second")
    if rescale is not None and (len(rescale) != 2 or not rescale[0] or not all(map(math.isfinite, rescale))):
        raise InputError(f"rescale is {tuple(rescale)}, but must be a slope (not 0) and an intercept, e.g. 1,-1024")
    if n4 and preset != "mr":
        raise InputError(f"--n4 corrects the shading of MR images, but the preset is {preset}")
    return {
        "preset": preset,
        "spatial_dims": dims,
        "spacing": spacing,
        "channels": list(channels) if channels else None,
        "window": [float(value) for value in window] if window else None,
        "range": None if window else presets.RANGE,
        "margin": MARGIN_MM,
        "rescale": [float(value) for value in rescale] if rescale is not None else None,
        **({"n4": True} if n4 else {}),
    }


def label_options(mapping: Mapping[int, int] | None = None, keep_small: bool = False) -> dict[str, Any]:
    """How labels become arrays: `mapping` (stored value -> class number), and whether small parts are kept.

    Raises `InputError` for a class number below 0 or above 65535.
    """
    wrong = {old: new for old, new in (mapping or {}).items() if not 0 <= new < 2**16}
    if wrong:
        raise InputError(f"--label-map maps {wrong}, but class numbers are 0 (background), 1, 2, ... up to 65535")
    return {"map": {str(old): int(new) for old, new in (mapping or {}).items()}, "keep_small": keep_small}
