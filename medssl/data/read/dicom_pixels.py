"""Pixels of DICOM files, in the units that the header defines."""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.data.read.dicom_header import STACKED, check_deflated, frame_item
from medssl.data.read.dicom_quick import QuickHeader, pixels, quick
from medssl.data.reject import Rejected, brief, check_unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset


def dataset(path: Path) -> Dataset:
    """Read a whole DICOM file. Raises `Rejected` if it is truncated."""
    from pydicom import dcmread

    check_deflated(path)
    try:
        return dcmread(path, force=True)
    except (OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise Rejected("cannot be read", brief(error), path) from None


def source(path: Path) -> Dataset | QuickHeader:
    """What the pixels of a file are read from. Raises `Rejected` if it is truncated."""
    with contextlib.suppress(Exception):  # whatever is odd is read by pydicom, or refused with its reason
        found = quick(path)
        if found is not None and found.stored is not None:
            return found
    return dataset(path)


def frames(source: Dataset | QuickHeader, path: Path) -> np.ndarray:
    """All frames (F,Y,X) or (F,Y,X,3) as stored, decompressed, colours as RGB. Raises `Rejected`."""
    from pydicom.pixels.processing import apply_color_lut

    if isinstance(source, QuickHeader):
        found = pixels(path, source)
        if found is not None:
            return found[None]
        source = dataset(path)
    _check_size(source, path)
    try:
        array = np.asarray(source.pixel_array)
        if source.get("PhotometricInterpretation") == "PALETTE COLOR":
            array = apply_color_lut(array, source)
    except Exception as error:  # decoders are C libraries that may raise anything
        raise Rejected("pixels cannot be decoded", brief(error), path) from None
    colour = array.ndim > 2 and array.shape[-1] == 3 and int(source.get("SamplesPerPixel") or 1) + array.ndim > 3
    many = array.ndim - colour == 3
    return array if many else array[None]


def _check_size(source: Dataset, path: Path) -> None:
    """Refuse a header that claims far more pixels than its file can contain, before memory is allocated for them."""
    sides = [int(source.get(name) or 1) for name in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    check_unpacked(math.prod(sides) * int(source.get("BitsAllocated") or 16) // 8, path.stat().st_size, path)


def rescale(array: np.ndarray, source: Dataset | QuickHeader, frame: int) -> np.ndarray:
    """Stored values (Y,X) times slope plus intercept of their frame; integers stay integers where possible."""
    from pydicom.pixels.processing import apply_modality_lut

    if not isinstance(source, QuickHeader) and "ModalityLUTSequence" in source:
        return np.asarray(apply_modality_lut(array, source))
    item = frame_item(source, frame, "PixelValueTransformationSequence")
    slope, intercept = (
        _number(item.get(name), usual) for name, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    if not slope or not np.isfinite([slope, intercept]).all():
        raise Rejected("broken rescaling", f"slope {slope:g}, intercept {intercept:g}")
    if slope == 1 and intercept == int(intercept) and array.dtype.kind in "iu":
        return array if intercept == 0 else array.astype(np.int32) + int(intercept)
    return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _number(value: Any, usual: float) -> float:
    try:
        return usual if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        raise Rejected("broken rescaling", f"{str(value)[:40]} is not a number") from None


def upright(array: np.ndarray, source: Dataset | QuickHeader) -> np.ndarray:
    """Invert MONOCHROME1 images (low is bright), except in CT, MR and PET, where values have a meaning."""
    if source.get("PhotometricInterpretation") != "MONOCHROME1" or source.get("Modality") in STACKED:
        return array
    bits = int(source.get("BitsStored") or 16)
    signed = int(source.get("PixelRepresentation") or 0)
    return (2**bits - 1 - signed * 2**bits) - array.astype(np.int32)


def narrow(array: np.ndarray) -> np.ndarray:
    """Convert integers to the smallest of uint8 (if stored so), int16, uint16, int32, and all else to float32."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype == np.uint8:
        return array
    low, high = int(array.min()), int(array.max())
    fits = [kind for kind in (np.int16, np.uint16) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return array.astype(fits[0] if fits else np.int32)


def mosaic(source: Dataset, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The tiles of a Siemens mosaic as (Z,Y,X), and the affine index (z,y,x) -> RAS mm, from its CSA header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its DICOM part experimental on import
        from nibabel.nicom.dicomwrappers import MosaicWrapper, wrapper_from_data

    try:
        found: Any = wrapper_from_data(source)
        if not isinstance(found, MosaicWrapper):
            raise Rejected("mosaic without its CSA header", "the number of tiles is unknown", path)
        array, matrix = np.asarray(found.get_data()), np.asarray(found.affine, np.float64)
    except Rejected:
        raise
    except Exception as error:  # the CSA header is an undocumented vendor format
        raise Rejected("mosaic cannot be read", brief(error), path) from None
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return array.transpose(2, 0, 1), to_ras @ matrix[:, [2, 0, 1, 3]]
