"""Read a DICOM Segmentation or RT Structure Set as a label on the grid of its image."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data.read import dicom_pixels
from medssl.data.read.volume import Volume, make
from medssl.data.reject import Rejected, rejecting
from medssl.data.structures import rtstruct, seg

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydicom.dataset import Dataset

FORMATS: dict[str, Any] = {"SEG": seg, "RTSTRUCT": rtstruct}


class Reference(NamedTuple):
    """What an object says of itself, without its voxels."""

    series: tuple[str, ...]  # UIDs of the series on which it was drawn
    names: tuple[str, ...]  # of its structures


def reference(path: Path) -> Reference | None:
    """The series and the structures of an object; None for a file of another sort. Raises `Rejected`."""
    with rejecting(path), warnings.catch_warnings(action="ignore"):
        source = dicom_pixels.dataset(path)
        form = FORMATS.get(str(source.get("Modality")))
        if form is None:
            return None
        names = tuple(dict.fromkeys(form.names(source).values()))
        return Reference(tuple(sorted(form.series(source))), names)


def read(path: Path, shape: tuple[int, ...], affine: np.ndarray, numbers: Mapping[str, int]) -> Volume:
    """The structures named in `numbers`, as these class numbers, on a grid `shape` (Z,Y,X), `affine` (index -> RAS mm).

    Where structures overlap, the one with the higher number is kept, with a note. Raises `Rejected` for an object that
    lies on another grid or outside it, or holds none of the structures.
    """
    with rejecting(path), warnings.catch_warnings(action="ignore"):
        source = dicom_pixels.dataset(path)
        form = FORMATS[str(source.Modality)]
        named = {key: numbers[name] for key, name in form.names(source).items() if name in numbers}
        if not named:
            raise Rejected("mask without the structures asked for", f"it has {_listed(form, source)}", path)
        label = np.zeros(shape, np.min_scalar_type(max(numbers.values())))
        overlap = 0
        masks = form.masks(source, path, shape, np.linalg.inv(affine), set(named))
        for key in sorted(named, key=lambda key: named[key]):
            if (mask := masks.get(key)) is not None:
                overlap += int(np.count_nonzero(label[mask]))
                label[mask] = named[key]
    notes = (f"{overlap} voxels in two structures",) if overlap else ()
    return make(label[None], affine, "OT")._replace(notes=notes)


def _listed(form: Any, source: Dataset) -> str:
    return ", ".join(form.names(source).values()) or "no structure"
