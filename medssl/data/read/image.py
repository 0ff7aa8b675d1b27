"""PNG, JPEG and TIFF files as 2D images."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.data.read import npy
from medssl.data.read.nifti import Header, integers
from medssl.data.read.volume import Volume, plane
from medssl.data.reject import Rejected, brief, check_unpacked

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
GRAY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")
MM_PER_INCH = 25.4


def read(path: Path, *, label: bool = False) -> Volume:
    """Read an image file as (1,Y,X) gray or (3,Y,X) RGB, 8 or 16 bit, upright, without alpha; palettes are resolved.

    A label keeps its stored numbers (of a palette image the indices) and must have one channel. The pixel size is 1 mm
    and not `spacing_known`, as these formats do not store it reliably. Raises `Rejected`.
    """
    with warnings.catch_warnings(action="ignore"), _open(path) as picture:  # Pillow warns about each odd tag
        _check_size(picture, path)
        if getattr(picture, "n_frames", 1) > 1:
            stack = _pages(picture, path)
            return npy.volume(integers(stack, path) if label else stack)
        try:
            array = _deep_colour(path) if not label and _is_deep_colour(picture) else _array(_upright(picture), label)
        except (OSError, ValueError, SyntaxError) as error:
            raise Rejected("cannot be read", brief(error), path) from None
    if label and array.shape[0] == 3:
        array = _one_channel(array, path)
    return plane(integers(array, path) if label else array, (1.0, 1.0), "OT")._replace(spacing_known=False)


def header(path: Path) -> Header:
    """Shape (Y,X) of an image file, without reading its pixels. Raises `Rejected`."""
    with _open(path) as picture:
        integer = picture.mode in ("1", "L", "P", "I", "I;16", "I;16B")
        return Header((picture.height, picture.width), np.eye(3), integer)


def _open(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    if path.stat().st_size == 0:
        raise Rejected("empty file", "0 bytes", path)
    try:
        picture: Any = Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Rejected("not a readable image", f"{type(error).__name__}", path) from None
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "TIFF":
        picture.close()
        raise Rejected("more than one page", f"{picture.n_frames} pages: save them as separate files", path)
    return picture


def _check_size(picture: Any, path: Path) -> None:
    """Refuse a header that promises far more pixels than its file can hold, before memory is taken for them."""
    pages = getattr(picture, "n_frames", 1)
    wanted = picture.width * picture.height * len(picture.getbands()) * 2 * pages
    check_unpacked(wanted, path.stat().st_size, path)


def _pages(picture: Any, path: Path) -> np.ndarray:
    """The pages (Z,Y,X) of a TIFF of gray slices; pages of several sizes are levels of a pyramid."""
    from PIL import ImageSequence

    pages = [_array(page, label=True) for page in ImageSequence.Iterator(picture)]
    if len({page.shape for page in pages}) > 1 or pages[0].shape[0] > 1:
        raise Rejected("pages are not the slices of a volume", f"{len(pages)} pages, such as {pages[0].shape}", path)
    return np.concatenate(pages)


def _upright(picture: Any) -> Any:
    """The image, rotated as its EXIF tag says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(picture)


def _is_deep_colour(picture: Any) -> bool:
    """Whether an image has 16 bits per colour, of which Pillow would keep 8."""
    if picture.format == "PNG":
        return "16B" in str(picture.tile[0][3] if picture.tile else "")[-3:] and picture.mode in ("RGB", "RGBA")
    bits = getattr(picture, "tag_v2", {}).get(258, ())
    return picture.format == "TIFF" and len(bits) >= 3 and set(bits) == {16}


def _deep_colour(path: Path) -> np.ndarray:
    import SimpleITK

    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return np.ascontiguousarray(array.reshape(-1, *array.shape[-2:])[..., :3].transpose(2, 0, 1))


def _array(picture: Any, label: bool) -> np.ndarray:
    if picture.mode == "1" or (picture.mode == "P" and label):
        array = np.asarray(picture).astype(np.uint8)
    elif picture.mode in GRAY:
        array = _narrow(np.asarray(picture))
    elif picture.mode in ("LA", "La"):
        array = np.asarray(picture.convert("L"))
    else:
        array = np.asarray(picture.convert("RGB"))
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _narrow(array: np.ndarray) -> np.ndarray:
    """Convert back to 16 bits what Pillow opened as int32."""
    array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.int32 and array.min() >= 0 and array.max() < 2**16:
        return array.astype(np.uint16)
    return array


def _one_channel(array: np.ndarray, path: Path) -> np.ndarray:
    if not (array == array[:1]).all():
        raise Rejected("label is a colour image", "its channels differ: save class numbers in one channel", path)
    return array[:1]
