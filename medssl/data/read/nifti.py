"""NIfTI and Analyze files as volumes."""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data.read.nifti_pixdim import check_pixdim
from medssl.data.read.volume import Volume, make, plane
from medssl.data.reject import Rejected, brief, check_unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".hdr.gz")
BROKEN = (OSError, EOFError, ValueError, zlib.error)  # what nibabel and gzip raise on truncated or overwritten files
SHEAR_DEGREES = 1.0
TRANSPOSE = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # index (z,y,x) -> (x,y,z)


class Header(NamedTuple):
    """What is known of an image without reading its voxels."""

    shape: tuple[int, ...]  # (Z,Y,X) or (Y,X)
    affine: np.ndarray  # as in Volume
    integer: bool


def read(path: Path, *, label: bool = False, of: Sequence[int] | None = None) -> Volume:
    """Read a NIfTI file as (1,Z,Y,X). Its modality is OT, as the format does not store one. Raises `Rejected`.

    An image of a single slice, along any axis, is read as 2D: (1,Y,X), in stored order. Integers without scaling keep
    their dtype, all else becomes float32; a label must contain integers. `of` names the time points of a 4D file whose
    mean is taken.
    """
    image, shape, affine, odd = _open(path, several=of is not None)
    _check_size(image, path)
    try:
        array = _chosen(_voxels(image, path), of).reshape(shape[::-1])
    except FileNotFoundError:
        raise Rejected("half of an Analyze pair", f"no {path.stem}.img beside it", path) from None
    except BROKEN as error:
        raise Rejected("cannot be read", brief(error), path) from None
    array = array.transpose(2, 1, 0)[None]
    volume = make(integers(array, path) if label else array, affine, "OT")
    volume = _slice(volume) if 1 in volume.array.shape[1:] else volume
    return volume._replace(notes=(*_notes(image, affine), *odd))


def times(path: Path) -> int:
    """How many time points (or other volumes) a file has. Raises `Rejected`."""
    return math.prod(_open(path, several=True)[0].shape[3:])


def _chosen(array: np.ndarray, of: Sequence[int] | None) -> np.ndarray:
    """The only volume of an array (X,Y,Z,...), or the mean of the chosen ones (one alone keeps its dtype)."""
    if of is None:
        return array
    several = array.reshape(*array.shape[:3], -1, order="F")[..., list(of)]
    return several[..., 0] if len(of) == 1 else several.mean(axis=-1, dtype=np.float32)


def header(path: Path) -> Header:
    """Shape, affine and number type of a NIfTI file, without reading its voxels. Raises `Rejected`."""
    image, shape, affine, _ = _open(path)
    slope, inter = image.header.get_slope_inter() if hasattr(image.header, "get_slope_inter") else (None, None)
    plain = slope in (None, 1) and inter in (None, 0)
    return Header(shape, affine, plain and bool(np.issubdtype(image.get_data_dtype(), np.integer)))


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write array (Z,Y,X), or (Y,X), with the affine of a `Volume` (index order -> RAS mm) as NIfTI."""
    import nibabel

    array = storable(array)
    if array.ndim == 2:
        flat = np.eye(4)
        flat[1:3, 1:3], flat[1:3, 3] = affine[:2, :2], affine[:2, 2]
        array, affine = array[None], _rows_to_world(flat)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine @ TRANSPOSE), path)


def write_slice_like(path: Path, array: np.ndarray, source: Path) -> None:
    """Write array (Y,X), read from the NIfTI `source` of one slice, with the shape and the affine of that file."""
    import nibabel

    like: Any = nibabel.load(source)
    array = storable(array)
    shape = (*like.shape, 1, 1)[:3]
    nibabel.save(nibabel.Nifti1Image(array.reshape(shape[::-1]).transpose(2, 1, 0), like.affine), path)


def storable(array: np.ndarray) -> np.ndarray:
    """The array in a type that NIfTI readers know: no integers of 64 bits, no truth values, no half floats."""
    kind = array.dtype
    if kind == np.float16 or (kind.kind == "f" and kind.itemsize > 8):
        return array.astype(np.float32)
    if kind.kind == "b":
        return array.astype(np.uint8)
    if kind.kind not in "iu" or kind.itemsize < 8:
        return array
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    fits = [small for small in (np.int16, np.int32) if np.iinfo(small).min <= low and high <= np.iinfo(small).max]
    return array.astype(fits[0] if fits else np.float64)


def integers(array: np.ndarray, path: object) -> np.ndarray:
    """The label array as integers of the smallest unsigned (or signed) type. Raises `Rejected`."""
    whole = np.rint(array)
    if not np.allclose(array, whole, atol=1e-4):
        raise Rejected("label is not integers", f"it contains {array[~np.isclose(array, whole)].flat[0]:.4g}", path)
    low, high = (int(whole.min()), int(whole.max())) if whole.size else (0, 0)
    return whole.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))


def _rows_to_world(flat: np.ndarray) -> np.ndarray:
    """Index (z,y,x) -> RAS mm of a 2D image as a frontal view: x to the Left, y downward to Inferior."""
    turn = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    return turn @ flat


def _slice(volume: Volume) -> Volume:
    """A volume of one slice as a 2D image."""
    axes = [axis for axis, size in enumerate(volume.array.shape[1:]) if size > 1]
    rows, columns = (volume.spacing[axis] for axis in axes)
    return plane(volume.array.squeeze()[None], (rows, columns), volume.modality)


def _open(path: Path, several: bool = False) -> tuple[Any, tuple[int, int, int], np.ndarray, tuple[str, ...]]:
    """The image of nibabel, its shape (Z,Y,X), its affine, and notes about its voxel sizes."""
    import nibabel

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it prints what is odd without naming the file
    if path.stat().st_size == 0:
        raise Rejected("empty file", "0 bytes", path)
    if path.suffix.lower() == ".img" and not path.with_suffix(".hdr").exists():
        raise Rejected("half of an Analyze pair", f"no {path.stem}.hdr beside it", path)
    try:
        image: Any = nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, *BROKEN) as error:
        raise Rejected("not a NIfTI", brief(error), path) from None
    if not isinstance(image, nibabel.spatialimages.SpatialImage) or image.get_data_dtype().kind not in "iuf":
        raise Rejected("not a scalar image", f"it is a {type(image).__name__} of {image.get_data_dtype()}", path)
    odd = check_pixdim(image)
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-18:
        raise Rejected("broken affine", f"{affine[:3].round(3).tolist()}", path)
    affine[:3] *= _unit(image)
    _check_angles(affine, path)
    return image, _shape(image.shape[:3] if several else image.shape, path), affine @ TRANSPOSE, odd


def _unit(image: Any) -> float:
    """The unit of the header in mm; without one, mm is meant."""
    units = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "unknown"
    return {"meter": 1000.0, "micron": 0.001}.get(units, 1.0)


def _check_angles(affine: np.ndarray, path: Path) -> None:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    off = float(np.degrees(np.arcsin(np.clip(np.abs(directions.T @ directions - np.eye(3)).max(), 0, 1))))
    if off > SHEAR_DEGREES:
        raise Rejected("sheared grid", f"its axes are {90 - off:.1f} degrees apart, not 90", path)


def _notes(image: Any, affine: np.ndarray) -> tuple[str, ...]:
    """Notes about a unit other than mm, and about sform and qform that differ."""
    header = image.header
    notes = [f"unit {header.get_xyzt_units()[0]}"] if _unit(image) != 1 else []
    if hasattr(header, "get_sform"):
        forms = [
            form for form in (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]) if form is not None
        ]
        if len(forms) == 2 and np.isfinite(forms).all():
            corner = np.array([*(n - 1 for n in (*image.shape, 1, 1)[:3]), 1])
            away = float(
                max(
                    np.linalg.norm((forms[0] - forms[1]) @ [0, 0, 0, 1]), np.linalg.norm((forms[0] - forms[1]) @ corner)
                )
            )
            if away * _unit(image) > np.linalg.norm(affine[:3, :3], axis=0).min() / 2:
                notes.append(f"sform and qform {away * _unit(image):.3g} mm apart, sform used")
    return tuple(notes)


def _shape(stored: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    shape = stored + (1,) * (3 - len(stored))
    if not stored or 0 in stored:
        raise Rejected("no voxels", f"shape {stored}", path)
    if sum(size > 1 for size in shape) < 2:
        raise Rejected("fewer than 2 dimensions", f"shape {stored}", path)
    if any(size > 1 for size in shape[3:]):
        raise Rejected(
            "more than 3 dimensions", f"shape {stored}; choose with `scan --frames first`, `mean` or `each`", path
        )
    return shape[2], shape[1], shape[0]


def _check_size(image: Any, path: Path) -> None:
    """Refuse a shape that the file cannot contain, before memory is allocated for it."""
    wanted = math.prod(image.shape) * image.get_data_dtype().itemsize
    voxels = Path(image.file_map["image"].filename)
    held = voxels.stat().st_size if voxels.is_file() else wanted
    if not voxels.name.lower().endswith(".gz") and held < wanted:
        raise Rejected("cannot be read", f"it has {held} bytes, but its shape {image.shape} needs {wanted}", path)
    check_unpacked(wanted, held, path)


def _voxels(image: Any, path: Path) -> np.ndarray:
    """The scaled voxels; a gzip file is read to its end, where its checksum is."""
    voxels = Path(image.file_map["image"].filename)
    if not path.name.lower().endswith(".nii.gz"):
        if voxels.name.lower().endswith(".gz"):
            _check_packed(voxels)
        return _scaled(image)
    with gzip.open(path) as stream:
        whole = type(image).from_file_map(type(image).make_file_map({"image": stream}))
        array = _scaled(whole)
        while stream.read(2**20):
            pass
    return array


def _check_packed(path: Path) -> None:
    """Read a gzip file to its end; raises what gzip raises where its checksum differs."""
    with gzip.open(path) as stream:
        while stream.read(2**20):
            pass


def _scaled(image: Any) -> np.ndarray:
    array = np.asarray(image.dataobj)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
