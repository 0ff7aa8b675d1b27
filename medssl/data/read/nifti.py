"""NIfTI and Analyze files as volumes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data.read.volume import Volume, make, plane
from medssl.data.reject import Rejected, brief

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".hdr.gz")
BROKEN = (OSError, EOFError, ValueError, zlib.error)  # what nibabel and gzip raise on files cut short or overwritten
TRANSPOSE = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # index (z,y,x) -> (x,y,z)


class Header(NamedTuple):
    """What can be known of an image without its voxels."""

    shape: tuple[int, ...]  # (Z,Y,X) or (Y,X)
    affine: np.ndarray  # as in Volume
    integer: bool


def read(path: Path, *, label: bool = False) -> Volume:
    """Read one NIfTI as (1,Z,Y,X); the modality is not in the file and comes out as OT. Raises `Rejected`.

    An image of a single slice, along whichever axis, is read as 2D: (1,Y,X), in stored order. Integers without scaling
    keep their dtype, all else becomes float32; a label must hold whole numbers.
    """
    image, shape, affine = _open(path)
    try:
        array = _scaled(image).reshape(shape[::-1])
    except FileNotFoundError:
        raise Rejected("half of an Analyze pair", f"no {path.stem}.img beside it", path) from None
    except BROKEN as error:
        raise Rejected("cannot be read", brief(error), path) from None
    array = array.transpose(2, 1, 0)[None]
    volume = make(integers(array, path) if label else array, affine, "OT")
    return _slice(volume) if 1 in volume.array.shape[1:] else volume


def header(path: Path) -> Header:
    """Shape, affine and kind of a NIfTI, without reading its voxels. Raises `Rejected`."""
    image, shape, affine = _open(path)
    slope, inter = image.header.get_slope_inter() if hasattr(image.header, "get_slope_inter") else (None, None)
    plain = slope in (None, 1) and inter in (None, 0)
    return Header(shape, affine, plain and bool(np.issubdtype(image.get_data_dtype(), np.integer)))


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write array (Z,Y,X), or (Y,X), with the affine of a `Volume` (index order -> RAS mm) as NIfTI."""
    import nibabel

    if array.ndim == 2:
        flat = np.eye(4)
        flat[1:3, 1:3], flat[1:3, 3] = affine[:2, :2], affine[:2, 2]
        array, affine = array[None], _rows_to_world(flat)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine @ TRANSPOSE), path)


def integers(array: np.ndarray, path: object) -> np.ndarray:
    """The label array as whole numbers in the smallest unsigned (or signed) type. Raises `Rejected`."""
    whole = np.rint(array)
    if not np.allclose(array, whole, atol=1e-4):
        raise Rejected("label is not whole numbers", f"it holds {array[~np.isclose(array, whole)].flat[0]:.4g}", path)
    low, high = (int(whole.min()), int(whole.max())) if whole.size else (0, 0)
    return whole.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))


def _rows_to_world(flat: np.ndarray) -> np.ndarray:
    """Index (z,y,x) -> RAS mm of a 2D picture as a frontal view: x to the Left, y downward to Inferior."""
    turn = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    return turn @ flat


def _slice(volume: Volume) -> Volume:
    """A volume of one slice as a picture."""
    axes = [axis for axis, size in enumerate(volume.array.shape[1:]) if size > 1]
    rows, columns = (volume.spacing[axis] for axis in axes)
    return plane(volume.array.squeeze()[None], (rows, columns), volume.modality)


def _open(path: Path) -> tuple[Any, tuple[int, int, int], np.ndarray]:
    import nibabel

    if path.stat().st_size == 0:
        raise Rejected("empty file", "0 bytes", path)
    if path.suffix.lower() == ".img" and not path.with_suffix(".hdr").exists():
        raise Rejected("half of an Analyze pair", f"no {path.stem}.hdr beside it", path)
    try:
        image: Any = nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, *BROKEN) as error:
        raise Rejected("not a NIfTI", brief(error), path) from None
    if not isinstance(image, nibabel.spatialimages.SpatialImage) or image.get_data_dtype().kind not in "iuf":
        raise Rejected("not a scalar image", f"it holds {type(image).__name__} of {image.get_data_dtype()}", path)
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise Rejected("broken affine", f"{affine[:3].round(3).tolist()}", path)
    return image, _shape(image.shape, path), affine @ TRANSPOSE


def _shape(stored: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    shape = stored + (1,) * (3 - len(stored))
    if not stored or 0 in stored:
        raise Rejected("no voxels", f"shape {stored}", path)
    if sum(size > 1 for size in shape) < 2:
        raise Rejected("fewer than 2 dimensions", f"shape {stored}", path)
    if any(size > 1 for size in shape[3:]):
        raise Rejected("more than 3 dimensions", f"shape {stored}; split it into one file a volume", path)
    return shape[2], shape[1], shape[0]


def _scaled(image: Any) -> np.ndarray:
    array = np.asarray(image.dataobj)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
