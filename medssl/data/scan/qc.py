"""Checks of an image while it is read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medssl.data.fingerprint import open_fingerprint
from medssl.data.preparing.units import looks_like_ct
from medssl.data.read.volume import Volume, orient
from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW_SLICES = 8
ODD = (0.01, 25.0)  # mm: a voxel size outside this range is rarely intended
THICK = 5.0  # from this ratio of largest to smallest spacing on, a volume is called anisotropic
MOST_VALUE = 2**16
FEW_VALUES = 32  # a mask has at most this many values, or
SAMPLE = 100_000  # voxels to check before all of them
FLAT = 0.9  # at least this share of voxels that equal their neighbour (instance labels)


class ImageInfo(NamedTuple):
    """Facts about an image, found by reading it."""

    shape: tuple[int, ...]  # as stored, (Z,Y,X) or (Y,X)
    spacing: tuple[float, ...]
    affine: np.ndarray  # as in Volume
    grid: tuple[tuple[int, ...], np.ndarray]  # shape and affine with axes toward S, A, R
    modality: str
    digest: str  # of the voxels: the same for copies, whatever their file
    notes: tuple[str, ...]
    mask_like: bool
    ct_like: bool = False  # its values look like Hounsfield units
    print: str = ""  # fingerprint, comparable within one scan


def look(volume: Volume) -> ImageInfo:
    """Check and describe a volume. Raises `Rejected` if it shows nothing."""
    array = volume.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Rejected("non-finite voxels", f"{int((~np.isfinite(array)).sum())} of {array.size} are NaN or infinite")
    if array.min() == array.max():
        raise Rejected("constant image", f"every voxel is {array.flat[0]:g}")
    return ImageInfo(
        shape=array.shape[1:],
        spacing=volume.spacing,
        affine=volume.affine,
        grid=oriented_grid(array.shape[1:], volume.affine),
        modality=volume.modality,
        digest=digest(array),
        notes=(*volume.notes, *_notes(volume)),
        mask_like=mask_like(array),
        ct_like=looks_like_ct(array),
        print=open_fingerprint(volume),
    )


def oriented_grid(shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine with axes reoriented toward S, A, R (2D: unchanged); needs no voxels."""
    empty = np.broadcast_to(np.zeros(1, np.uint8), (1, *shape))
    turned = orient(Volume(empty, affine, (1.0,) * len(shape), ""))
    return turned.array.shape[1:], turned.affine


def same_grid(one: tuple[tuple[int, ...], np.ndarray], other: tuple[tuple[int, ...], np.ndarray]) -> bool:
    """Whether two grids have the same shape and no corner lies more than half a voxel off."""
    if one[0] != other[0]:
        return False
    corners = np.array([*np.ndindex(*[2] * len(one[0]))]) * (np.array(one[0]) - 1)
    away = (one[1] - other[1]) @ np.vstack([corners.T, np.ones(len(corners))])
    finest = float(np.linalg.norm(one[1][:-1, :-1], axis=0).min())
    return bool(np.linalg.norm(away[:-1], axis=0).max() <= finest / 2)


def digest(array: np.ndarray) -> str:
    """A hash of shape and values that does not depend on the number type."""
    small = array.dtype.kind == "f" or max(-int(array.min()), int(array.max())) < 2**24  # exact as float32
    found = hashlib.sha256(repr(array.shape).encode())
    for plane in array.reshape(-1, array.shape[-1] * array.shape[-2]):  # plane by plane: no copy of the volume
        found.update(np.ascontiguousarray(plane, np.float32 if small else np.int64).data)
    return found.hexdigest()


def mask_like(array: np.ndarray) -> bool:
    """Whether values are integers from 0 on, and few or in flat patches."""
    if array.shape[0] > 1 or array.min() != 0 or (array.dtype.kind == "f" and (array != np.rint(array)).any()):
        return False
    few = all(len(np.unique(array.ravel()[::step])) <= FEW_VALUES for step in (1 + array.size // SAMPLE, 1))
    return few or float(np.mean(array[..., 1:] == array[..., :-1])) > FLAT


def few_values(array: np.ndarray) -> tuple[int, ...]:
    """The sorted values of a label; none if they are many, as in instance labels."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > MOST_VALUE:
        found = np.unique(array)
    else:
        found = np.flatnonzero(np.bincount(array.ravel(), minlength=high + 1))
    return tuple(map(int, found)) if len(found) <= FEW_VALUES else ()


def twins(digests: Sequence[str]) -> dict[int, int]:
    """Index of each item whose digest occurred before -> index of the first with that digest."""
    first: dict[str, int] = {}
    pairs = {number: first.setdefault(value, number) for number, value in enumerate(digests)}
    return {number: earlier for number, earlier in pairs.items() if earlier != number}


def _notes(volume: Volume) -> list[str]:
    slices = volume.array.shape[1] if volume.array.ndim == 4 else None
    notes = {
        "few slices": slices is not None and slices < FEW_SLICES,
        "anisotropic": max(volume.spacing) >= THICK * min(volume.spacing),
        f"odd spacing {'x'.join(f'{mm:.3g}' for mm in volume.spacing)} mm": volume.spacing_known
        and not (ODD[0] <= min(volume.spacing) and max(volume.spacing) <= ODD[1]),
    }
    return [note for note, applies in notes.items() if applies]
