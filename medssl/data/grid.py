"""From a volume on its own grid to a cached array, and from a mask on that array back to the source grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.data import foreground, presets
from medssl.data.preparing import n4
from medssl.data.preparing.units import check_hounsfield, rescaled
from medssl.data.read.volume import Volume, make, orient, resample, resampled_size
from medssl.data.reject import Rejected
from medssl.types import Box, InputError, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARGIN_MM = 5.0
BYTE = 255
LARGE, FINER, MOST_VOXELS = 2**26, 64, 2**30  # a large image has at most FINER times the voxels of its source
WHOLE_LEVELS = 100  # integers with fewer levels between low and high become float when resampled
SAFE_LEVELS = 500  # float16 must distinguish at least this many values between low and high


def to_array(volume: Volume, preprocessing: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """The array (C,*S) that a cache with this `preprocessing` stores for `volume`, and its geometry (as JSON).

    Orient, find the patient, crop, resample, and convert to the smallest safe type. Raises `Rejected` for an image that
    is constant, not finite, or has other channels or dimensions than the preset's; `InputError` for a `preprocessing`
    whose rule for scaling intensities is not that of this version.
    """
    preset = presets.find(preprocessing["preset"])
    if preprocessing["window"] is None and preprocessing.get("range") != presets.RANGE:
        before = preprocessing.get("range", "0.5%, 99.5% of the foreground")
        raise InputError(
            f"intensities were scaled to [{before}], but this version of medssl scales to [{presets.RANGE}]: "
            "prepare and train again, or use the version that made it"
        )
    own = _of_preset(volume, preset, preprocessing)
    turned = orient(n4.corrected(own) if preprocessing.get("n4") else own)
    present = foreground.mask(turned.array, preset.crop)
    inner = foreground.box(present)
    margin = tuple(math.ceil(preprocessing["margin"] / mm) for mm in turned.spacing)
    crop = foreground.grow(inner, margin, present.shape) if preset.crop != "none" else inner
    inside, spacing = cut(turned, crop), _spacing(turned, preprocessing["spacing"])
    _check_size(inside, spacing)
    small = resample(inside, spacing)
    intensity = [_range(channel, present, inner, preprocessing) for channel in turned.array]
    array = _smallest(small.array, turned.array.dtype, intensity, preset)
    geometry = {
        "modality": volume.modality,
        "source": {"shape": volume.array.shape[1:], "affine": volume.affine.tolist()},
        "oriented": {"shape": turned.array.shape[1:], "affine": turned.affine.tolist()},
        "crop": crop._asdict(),
        "array": {"shape": array.shape[1:], "affine": small.affine.tolist(), "spacing": small.spacing},
        "foreground": _inside(inner, crop, array.shape[1:])._asdict(),
        "intensity": intensity,
    }
    return array, geometry


def box_to_array(box: Box, geometry: Mapping[str, Any]) -> Box:
    """A half-open box in voxels of the source as one in voxels of the cached array, clipped to it."""
    array, source = geometry["array"], geometry["source"]
    step = np.linalg.inv(np.array(array["affine"])) @ np.array(source["affine"])
    corners = np.array([box.start, box.stop]) - 0.5  # voxel i reaches from i - 0.5 to i + 0.5
    moved = np.sort(corners @ step[:-1, :-1].T + step[:-1, -1] + 0.5, axis=0)
    moved = np.clip(moved, 0, array["shape"]).round(3)
    return box._replace(start=tuple(moved[0].tolist()), stop=tuple(moved[1].tolist()))


def box_to_source(box: Box, geometry: Mapping[str, Any]) -> Box:
    """A half-open box of voxels of the cached array in voxels of its source."""
    corners = np.sort(
        [_at_source(np.subtract(corner, 0.5), geometry) + 0.5 for corner in (box.start, box.stop)], axis=0
    )
    return box._replace(start=tuple(corners[0].round(3).tolist()), stop=tuple(corners[1].round(3).tolist()))


def to_source_index(index: Sequence[float], geometry: Mapping[str, Any]) -> tuple[float, ...]:
    """The index in the source of an index in the cached array; whole numbers are centres of voxels."""
    return tuple(_at_source(np.array(index, dtype=float), geometry).round(3).tolist())


def _at_source(index: np.ndarray, geometry: Mapping[str, Any]) -> np.ndarray:
    step = np.linalg.inv(np.array(geometry["source"]["affine"])) @ np.array(geometry["array"]["affine"])
    return np.asarray(step[:-1, :-1] @ index + step[:-1, -1])


def to_source(mask: np.ndarray, geometry: Mapping[str, Any]) -> Volume:
    """A mask (*S) on the cached array resampled to the exact grid of its source (nearest voxel, 0 outside the crop)."""
    array, source = geometry["array"], geometry["source"]
    if mask.shape != tuple(array["shape"]):
        raise InputError(
            f"the mask has shape {mask.shape}, but needs that of the prepared image, {tuple(array['shape'])}"
        )
    affine = np.array(source["affine"])
    step = (
        np.linalg.inv(np.array(array["affine"])) @ affine
    )  # source index -> array index: axes swapped, flipped, scaled
    axes = [int(np.abs(step[:-1, j]).argmax()) for j in range(mask.ndim)]  # array axis of each source axis
    back = mask.transpose(axes)
    for j, i in enumerate(axes):
        position = step[i, j] * np.arange(source["shape"][j]) + step[i, -1]
        middle = (mask.shape[i] - 1) / 2
        inside = np.abs(position - middle) < abs(step[i, j]) * geometry["crop"]["size"][i] / 2
        nearest = np.clip(np.rint(position), 0, mask.shape[i] - 1).astype(int)
        keep = inside.reshape(-1, *(1,) * (mask.ndim - j - 1))
        back = back.take(nearest, axis=j) * keep.astype(mask.dtype)
    return make(back[None], affine, geometry["modality"])


def cut(volume: Volume, window: Window) -> Volume:
    """The part of a volume inside the window; its affine still says where each voxel lies in the body."""
    part = tuple(slice(a, a + n) for a, n in zip(window.start, window.size, strict=True))
    affine = volume.affine.copy()
    affine[:-1, -1] += affine[:-1, :-1] @ np.array(window.start)
    return make(volume.array[(slice(None), *part)], affine, volume.modality)


def _of_preset(volume: Volume, preset: presets.Preset, preprocessing: Mapping[str, Any]) -> Volume:
    array, dims = volume.array, volume.array.ndim - 1
    if dims != preprocessing["spatial_dims"]:
        raise Rejected("other dimensions", f"{dims}D among {preprocessing['spatial_dims']}D images")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Rejected("not finite", f"{int((~np.isfinite(array)).sum())} voxels are NaN or infinite")
    if array.min() == array.max():
        raise Rejected("constant", f"every voxel is {array.flat[0]}")
    if preprocessing.get("rescale") is not None:
        array = rescaled(array, preprocessing["rescale"])
        volume = volume._replace(array=array)
    elif preset.crop == "body":
        check_hounsfield(array)
    wanted = len(preprocessing["channels"] or ()) or preset.channels
    if array.shape[0] == 3 and wanted == 1 and dims == 2:  # a gray image saved as RGB: luminance (ITU-R BT.601)
        luminance = np.tensordot([0.299, 0.587, 0.114], array.astype(np.float64), 1)[None]
        return volume._replace(array=np.rint(luminance).astype(array.dtype) if array.dtype.kind in "iu" else luminance)
    if array.shape[0] != wanted:
        raise Rejected(
            "other channels", f"the image has {array.shape[0]}, preset {preprocessing['preset']} takes {wanted}"
        )
    return volume


def _check_size(volume: Volume, spacing: Sequence[float]) -> None:
    """Refuse a spacing that would leave an axis without voxels, or make more voxels than can be intended."""
    size = resampled_size(volume, spacing)
    told = f"{volume.array.shape[1:]} voxels of {_mm(volume.spacing)} mm would become {size} of {_mm(spacing)} mm"
    if any(new == 1 < old for old, new in zip(volume.array.shape[1:], size, strict=True)):
        raise Rejected("spacing too coarse for this image", told)
    if math.prod(size) > min(MOST_VOXELS, max(LARGE, FINER * math.prod(volume.array.shape[1:]))):
        raise Rejected("spacing too fine for this image", told)


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{mm:.4g}" for mm in spacing)


def _spacing(volume: Volume, wanted: Sequence[float] | str | None) -> tuple[float, ...]:
    if wanted is None:
        return volume.spacing
    if isinstance(wanted, str):
        return (math.prod(volume.spacing) ** (1 / len(volume.spacing)),) * len(volume.spacing)
    return tuple(wanted)


def _range(
    channel: np.ndarray, present: np.ndarray, inner: Window, preprocessing: Mapping[str, Any]
) -> tuple[float, float]:
    """The stored values that views map to 0 and 1."""
    if preprocessing["window"] is not None:
        low, high = preprocessing["window"]
        if channel.dtype == np.uint16 and high == BYTE and low == 0:  # an 8-bit window for a 16-bit image
            high = np.iinfo(np.uint16).max
        return float(low), float(high)
    return foreground.value_range(channel, present, inner)


def _smallest(
    array: np.ndarray, source: np.dtype, intensity: Sequence[tuple[float, float]], preset: presets.Preset
) -> np.ndarray:
    """The array in the smallest type without relevant loss: integers stay integers, CT is int16 HU."""
    if preset.crop == "body":
        return np.clip(np.rint(array), -32768, 32767).astype(np.int16)
    few = min(high - low for low, high in intensity) < WHOLE_LEVELS  # rounding would be visible
    if source.kind in "iu" and not (few and array.dtype.kind == "f"):
        for kind in (np.uint8, np.int16):
            limits = np.iinfo(kind)
            if limits.min <= array.min() and array.max() <= limits.max:
                return np.rint(array).astype(kind)
    fits = float(np.abs(array).max()) < float(np.finfo(np.float16).max)
    fine = all(
        high - low > SAFE_LEVELS * float(np.spacing(np.float16(min(max(abs(low), abs(high)), 6e4))))
        for low, high in intensity
    )
    return array.astype(np.float16 if fits and fine else np.float32)


def _inside(inner: Window, crop: Window, shape: tuple[int, ...]) -> Window:
    """The patient's window in voxels of the cropped and resampled array."""
    scale = [n / size for n, size in zip(shape, crop.size, strict=True)]
    low = [math.floor((a - b) * s) for a, b, s in zip(inner.start, crop.start, scale, strict=True)]
    high = [
        min(n, math.ceil((a - b + size) * s))
        for a, b, size, s, n in zip(inner.start, crop.start, inner.size, scale, shape, strict=True)
    ]
    return Window(tuple(low), tuple(max(1, b - a) for a, b in zip(low, high, strict=True)))
