"""Read any image file as a volume, whatever its format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.data.read import dicom, image, nifti
from medssl.data.reject import Rejected, rejecting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medssl.data.manifest import Manifest, Row
    from medssl.data.read.volume import Volume


def kind(path: Path) -> str:
    """The format of a file: `dicom` by its preamble, else `nifti` or `image` by its name, else `dicom`."""
    with path.open("rb") as stream:
        if stream.read(132)[128:] == b"DICM":
            return "dicom"
    return by_name(path)


def by_name(path: Path) -> str:
    """The format by the file name: `nifti`, `image`, or `dicom` for any other name."""
    name = path.name.lower()
    if name.endswith(nifti.SUFFIXES):
        return "nifti"
    return "image" if name.endswith(image.SUFFIXES) else "dicom"


def load(manifest: Manifest, row: Row) -> Volume:
    """The image of a manifest row, as stored, with the row's modality. Raises `Rejected`."""
    files = manifest.files(row.id)
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise Rejected("file is gone", f"{len(missing)} of {len(files)} files", missing[0])
    return of(files, manifest.frames(row.id))._replace(modality=row.modality)


def load_label(manifest: Manifest, row: Row) -> Volume | None:
    """The label of a manifest row as integers, or None. Raises `Rejected`."""
    path = manifest.label_path(row)
    return None if path is None else read(path, label=True)


def of(files: Sequence[Path], frames: Sequence[tuple[int, int]] | None = None, *, label: bool = False) -> Volume:
    """The image in `files`, or in the given (file number, frame number) of DICOM files, as stored. Raises `Rejected`.

    Whatever goes wrong becomes `Rejected`, so that a bad file costs itself alone. A label is read as integers.
    """
    first = files[0]
    with rejecting(first):
        sort = kind(first)
        if sort == "dicom":
            return dicom.read(files, frames)
        return nifti.read(first, label=label) if sort == "nifti" else image.read(first, label=label)


def read(path: Path, *, label: bool = False) -> Volume:
    """Read one file as a volume (a label as integers). Raises `Rejected`."""
    if not path.is_file():
        raise Rejected("file is gone", "", path)
    return of([path], label=label)
