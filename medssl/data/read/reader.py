"""Read any image file as a volume, whatever its format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medssl.data.read import dicom, image, itk, nifti, npy
from medssl.data.reject import Rejected, rejecting
from medssl.data.structures import reading as structures_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medssl.data.manifest import Manifest, Row
    from medssl.data.read.volume import Volume


NAMED: dict[str, Any] = {"nifti": nifti, "itk": itk, "npy": npy, "image": image}  # formats known by their file names


def kind(path: Path) -> str:
    """The format of a file: `dicom` by its preamble, else that of `by_name`."""
    with path.open("rb") as stream:
        if stream.read(132)[128:] == b"DICM":
            return "dicom"
    return by_name(path)


def by_name(path: Path) -> str:
    """The format by the file name: `nifti`, `itk`, `npy`, `image`, or `dicom` for any other name."""
    name = path.name.lower()
    return next((kind for kind, form in NAMED.items() if name.endswith(form.SUFFIXES)), "dicom")


def load(manifest: Manifest, row: Row) -> Volume:
    """The image of a manifest row, as stored, with the row's modality. Raises `Rejected`."""
    files = manifest.files(row.id)
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise Rejected("file is gone", f"{len(missing)} of {len(files)} files", missing[0])
    return of(files, manifest.frames(row.id))._replace(modality=row.modality)


def load_label(manifest: Manifest, row: Row, image: Volume) -> Volume | None:
    """The label of a manifest row, whose image is given, as integers, or None. Raises `Rejected`."""
    path, structures = manifest.label_path(row), manifest.entries[row.id].get("structures")
    if path is not None and structures:
        return structures_of.read(path, image.array.shape[1:], image.affine, structures)
    return None if path is None else read(path, label=True)


def of(files: Sequence[Path], frames: Sequence[tuple[int, int]] | None = None, *, label: bool = False) -> Volume:
    """The image in `files`, as stored, or its given parts. Raises `Rejected`.

    Parts are (file number, frame number) of DICOM files, or (0, time) of a 4D NIfTI, whose mean is taken. Whatever goes
    wrong becomes `Rejected`, so that a bad file costs itself alone. A label is read as integers.
    """
    first = files[0]
    with rejecting(first):
        sort = kind(first)
        if sort == "dicom":
            return dicom.read(files, frames)
        if frames is not None:
            return nifti.read(first, of=[time for _, time in frames])
        return NAMED[sort].read(first, label=label)


def read(path: Path, *, label: bool = False) -> Volume:
    """Read one file as a volume (a label as integers). Raises `Rejected`."""
    if not path.is_file():
        raise Rejected("file is gone", "", path)
    return of([path], label=label)
