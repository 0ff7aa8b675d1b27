"""Write the images of a manifest as NIfTI files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.data import files, manifest, sidecar
from medssl.data.read import nifti, reader
from medssl.data.reject import Rejected
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medssl.data.manifest import Manifest, Row
    from medssl.data.read.volume import Volume


def convert(
    manifest_path: str | Path, out: str | Path, progress: Callable[[str, int, int], None] | None = None
) -> list[Path]:
    """Write each image in its native grid and rescaled values as `<id>.nii.gz`, its label as `<id>_label.nii.gz`.

    Beside an image from DICOM lies `<id>.json`: how it was taken, in numbers and known words (see `data.sidecar`).
    `dataset.json` lists what was written as the Medical Segmentation Decathlon does.

    Returns the images written; `rejected.csv` in `out` lists the others by id. Raises `InputError` if none could be
    written, or if `out` is not a writable folder.
    """
    found, out = manifest.read(Path(manifest_path)), Path(out)
    with files.writable(f"--out {out}", advice="choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
    written, rejected = [], []
    for done, row in enumerate(found.rows, 1):
        try:
            written.append(_write(found, row, out))
        except Rejected as error:
            rejected.append((row.id, error.reason, error.detail))
        if progress:
            progress("convert", done, len(found.rows))
    if not written:
        raise InputError(f"none of {len(found.rows)} images could be written (the first: {rejected[0][1]}): scan again")
    files.write_json(out / "dataset.json", _decathlon([row for row in found.rows if out / _name(row) in written], out))
    if rejected:
        files.write_csv(out / "rejected.csv", ["id", "reason", "detail"], rejected)
    return written


def _decathlon(rows: Sequence[Row], out: Path) -> dict[str, Any]:
    """The list of the decathlon for images whose split is train (or none), val and test."""
    parts: dict[str, list[Any]] = {"training": [], "validation": [], "test": []}
    names = {"val": "validation", "test": "test"}
    for row in rows:
        label = f"{row.id}_label.nii.gz"
        entry = {"image": f"./{_name(row)}", **({"label": f"./{label}"} if (out / label).is_file() else {})}
        parts[names.get(row.split, "training")].append(entry)
    kinds = sorted({row.modality for row in rows})
    kept = {part: entries for part, entries in parts.items() if entries or part == "training"}
    return {"modality": {"0": kinds[0]} if len(kinds) == 1 else {}, **kept}


def _name(row: Row) -> str:
    return f"{row.id}.nii.gz"


def _write(found: Manifest, row: Row, out: Path) -> Path:
    volume = reader.load(found, row)
    label = reader.load_label(found, row, volume)
    if volume.array.shape[0] != 1:
        raise Rejected("colour image", f"{volume.array.shape[0]} channels; most NIfTI readers expect one")
    if label is not None:
        _save(out / f"{row.id}_label.nii.gz", label)
    first = found.files(row.id)[0]
    if reader.kind(first) == "dicom":
        files.write_json(out / f"{row.id}.json", sidecar.facts(first))
    return _save(out / _name(row), volume)


def _save(file: Path, volume: Volume) -> Path:
    """Write the file whole or not at all."""
    with files.writing(file) as partial:
        nifti.write(partial, volume.array[0], volume.affine)
    return file
