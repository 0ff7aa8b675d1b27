"""Where in an image the patient is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medssl.types import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

BODY_HU = -500.0  # halfway between air and soft tissue
FRAME_CONTRAST = 0.05  # of the image's range: an edge row with less is collimator or padding
SMALLEST_PART = 0.25  # of the largest part: two legs are both the patient, a table or a cushion is not
COARSE = 96  # parts are found on a grid of at most this many voxels a side: the exact outline does not matter


def mask(array: np.ndarray, crop: str, body: float = BODY_HU) -> np.ndarray:
    """The voxels (*S) of array (C,*S) that are patient, in any channel, by the kind of `crop`.

    `body`: over `body`, -500 HU. `bright`: over half Otsu's threshold. `uptake`: the same of the square roots, since
    tissue with little uptake is nearer to air than to a tumour. `frame`: inside the uniform border of a film.
    `none`: all.
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
    """The window that holds all large connected parts of the mask (*S); everything if the mask is empty."""
    step = tuple(max(1, -(-n // COARSE)) for n in found.shape)
    large = _large(found[tuple(slice(None, None, s) for s in step)])
    if not large.any():
        return Window((0,) * found.ndim, found.shape)
    (where,) = ndimage.find_objects(large.astype(np.uint8))
    start = [max(0, (w.start - 1) * s + 1) for w, s in zip(where, step, strict=True)]
    stop = [min(n, w.stop * s) for w, s, n in zip(where, step, found.shape, strict=True)]
    return Window(tuple(start), tuple(b - a for a, b in zip(start, stop, strict=True)))


def seen(x: np.ndarray, crop: str, intensity: Sequence[tuple[float, float]]) -> np.ndarray:
    """The large parts (*S) that are patient in x (C,*S), an image whose stored values `intensity` became 0 and 1.

    Where a CT window begins above -500 HU, what it shows black counts as air.
    """
    if crop != "body":  # the other rules do not depend on scale
        return _large(mask(x, crop))
    low, high = intensity[0]
    return _large(mask(x, crop, max(0.0, (BODY_HU - low) / (high - low))))


def cells(found: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Which cells (*grid) hold a voxel of the mask (*S), or are enclosed by such cells in their (axial) slice.

    What is enclosed is patient though dark, as lungs are in CT; by slice, for lungs lie open where a scan ends.
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
    sizes[0] = 0  # what is not in the mask
    return np.asarray((sizes >= max(1, SMALLEST_PART * sizes.max()))[parts])


def value_range(channel: np.ndarray, found: np.ndarray, around: Window) -> tuple[float, float]:
    """The values of channel (*S) that become 0 and 1: 0.5% of the window `around` lie under, 0.5% of mask `found` over.

    Background, the channel's darkest value (padding, skull stripped away), has no share in the low end; noise in air
    has, so that all tissue lies above. Air has none in the high end, or a large field of view would cut bright tissue.
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
    """Halfway from the darkest to Otsu's threshold, so that dark tissue counts as patient and noise in air does not."""
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
        if busy.size:  # else no row has contrast, and none is border
            keep = np.zeros(image.shape[axis], bool)
            keep[busy[0] : busy[-1] + 1] = True
            inside &= np.expand_dims(keep, others)
    return inside


def sample(values: np.ndarray, at_most: int = 1_000_000) -> np.ndarray:
    """Every n-th value, for statistics of a large image."""
    flat = values.ravel()
    return flat[:: max(1, flat.size // at_most)]
