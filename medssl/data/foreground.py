"""Where in an image the patient is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medssl.types import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

BODY_HU = -500.0  # halfway between air and soft tissue
FRAME_CONTRAST = 0.05  # of the image's range: an edge row with less contrast is collimator or padding
SMALLEST_PART = 0.25  # of the largest part: keeps both legs, drops a table or a cushion
COARSE = 96  # parts are found on a grid of at most this many voxels per side: the exact outline does not matter


def mask(array: np.ndarray, crop: str, body: float = BODY_HU) -> np.ndarray:
    """The voxels (*S) of array (C,*S) that show the patient in any channel, by the rule `crop`.

    `body`: above `body`, -500 HU. `bright`: above half of Otsu's threshold. `uptake`: the same on square roots, since
    tissue with little uptake is closer to air than to a tumour. `frame`: inside the uniform border of a radiograph.
    `none`: all voxels.
    """
    if crop == "body":
        return np.asarray((array > body).any(0))
    if crop == "bright":
        return np.logical_or.reduce([channel > _half_otsu(channel) for channel in array])
    if crop == "uptake":
        return mask(np.sqrt(array - array.min()), "bright")
    whole = np.ones(array.shape[1:], bool)
    return _inside_frame(array[0]) if crop == "frame" else whole


def box(found: np.ndarray) -> Window:
    """The bounding window of all large connected parts of the mask (*S); the whole image if the mask is empty."""
    step = tuple(max(1, -(-n // COARSE)) for n in found.shape)
    large = _large(found[tuple(slice(None, None, s) for s in step)])
    if not large.any():
        return Window((0,) * found.ndim, found.shape)
    (where,) = ndimage.find_objects(large.astype(np.uint8))
    start = [max(0, (w.start - 1) * s + 1) for w, s in zip(where, step, strict=True)]
    stop = [min(n, w.stop * s) for w, s, n in zip(where, step, found.shape, strict=True)]
    return Window(tuple(start), tuple(b - a for a, b in zip(start, stop, strict=True)))


def seen(x: np.ndarray, crop: str, intensity: Sequence[tuple[float, float]]) -> np.ndarray:
    """The large parts (*S) that show the patient in x (C,*S), whose stored values `intensity` were mapped to 0 and 1.

    If a CT window begins above -500 HU, whatever it shows as black counts as air.
    """
    if crop != "body":  # the other rules do not depend on scale
        return _large(mask(x, crop))
    low, high = intensity[0]
    return _large(mask(x, crop, max(0.0, (BODY_HU - low) / (high - low))))


def cells(found: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """The cells (*grid) that contain a voxel of the mask (*S), or are enclosed by such cells in their (axial) slice.

    Dark regions enclosed by tissue, such as the lungs in CT, belong to the patient. They are filled slice by slice,
    because lungs are open where a scan ends.
    """
    for axis, n in enumerate(grid):
        found = np.logical_or.reduceat(found, np.arange(n) * found.shape[axis] // n, axis)
    cross = ndimage.generate_binary_structure(found.ndim, 1)
    if found.ndim == 3:
        cross[[0, 2]] = False
    return np.asarray(ndimage.binary_fill_holes(found, cross))


def _large(found: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(found)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # background
    return np.asarray((sizes >= max(1, SMALLEST_PART * sizes.max()))[parts])


def value_range(channel: np.ndarray, found: np.ndarray, around: Window) -> tuple[float, float]:
    """The values of channel (*S) mapped to 0 and 1: 0.5th percentile in window `around`, 99.5th in mask `found`.

    The background (the channel's darkest value: padding, a stripped skull) does not count for the low end, but noise
    in air does, so that all tissue lies above. Air does not count for the high end: with a large field of view it would
    clip bright tissue.
    """
    part = tuple(slice(a, a + n) for a, n in zip(around.start, around.size, strict=True))
    inside, darkest = channel[part], channel.min()
    image = inside[inside > darkest]
    if not image.size:
        return float(darkest), float(channel.max())
    low = float(np.percentile(sample(image), 0.5))
    high = float(np.percentile(sample(channel[found] if found.any() else image), 99.5))
    return (low, high) if low < high else (float(darkest), float(channel.max()))


def grow(window: Window, margin: tuple[int, ...], shape: tuple[int, ...]) -> Window:
    """The window with `margin` voxels added on each side, kept inside `shape`."""
    start = tuple(max(0, a - m) for a, m in zip(window.start, margin, strict=True))
    stop = (min(n, a + s + m) for a, s, m, n in zip(window.start, window.size, margin, shape, strict=True))
    return Window(start, tuple(b - a for a, b in zip(start, stop, strict=True)))


def _half_otsu(channel: np.ndarray) -> float:
    """Halfway between the darkest value and Otsu's threshold: dark tissue counts as patient, noise in air does not."""
    from skimage.filters import threshold_otsu

    values = sample(channel)
    low, high = np.percentile(values, [0, 99])  # a few hot voxels (vessels, bladder in PET) must not set the scale
    if low == high:
        return float(low)
    return float(low + 0.5 * (threshold_otsu(np.clip(values, low, high)) - low))


def _inside_frame(image: np.ndarray) -> np.ndarray:
    limit = FRAME_CONTRAST * float(np.ptp(image))
    inside = np.ones(image.shape, bool)
    for axis in range(image.ndim):
        others = tuple(i for i in range(image.ndim) if i != axis)
        busy = np.flatnonzero(np.ptp(image.astype(np.float32), axis=others) > limit)
        if busy.size:  # else no row has contrast, so that there is no border
            keep = np.zeros(image.shape[axis], bool)
            keep[busy[0] : busy[-1] + 1] = True
            inside &= np.expand_dims(keep, others)
    return inside


def sample(values: np.ndarray, at_most: int = 1_000_000) -> np.ndarray:
    """Every n-th value, for statistics on large images."""
    flat = values.ravel()
    return flat[:: max(1, flat.size // at_most)]
