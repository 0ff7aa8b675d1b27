"""The slice of an image that a picture of lesions shows, and where a box lies on it.

A slice of a volume is turned: front up, the patient's right on the left. An image in 2D stays as it is, and has no z.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from medssl.views import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.lesions import Region

Corner = tuple[float, float]  # row, column


def gray_slice(image: Any, intensity: Sequence[tuple[float, float]], z: int | None) -> Image.Image:
    """The mean over channels of an image (C,*S) in stored units, gray in RGB; `image` may be on disk."""
    plane = np.array(image[:] if z is None else image[:, z], np.float32)
    gray = np.clip(scaled(plane, intensity).mean(0), 0, 1)
    return Image.fromarray(((gray if z is None else gray[::-1, ::-1]) * 255).astype(np.uint8)).convert("RGB")


def box_on_slice(region: Region, shape: Sequence[int], z: int | None) -> tuple[Corner, Corner] | None:
    """Top left and bottom right of a box on the slice of an image of `shape`; None for a point or a box beside it."""
    if region.start is None or region.stop is None:
        return None
    (top, left), (bottom, right) = region.start[-2:], region.stop[-2:]
    if z is None:
        return (top, left), (bottom, right)
    height, width = shape[-2:]
    inside = region.start[0] <= z < region.stop[0]
    return ((height - bottom, width - right), (height - top, width - left)) if inside else None
