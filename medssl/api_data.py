"""The library's verbs on data: scan, prepare, convert, open_cache. See `medssl.api`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.messages import progress

if TYPE_CHECKING:
    from medssl.data.cache import Cache
    from medssl.data.scan.scan import ScanResult
    from medssl.runs import Place


def scan(
    folders: Place | Sequence[Place],
    out: Place = "manifest.csv",
    *,
    labels: Place | None = None,
    pair: Sequence[str] = (),
    table: Place | None = None,
    id: str = "id",
    columns: Mapping[str, str] | None = None,
    patient_from: str | None = None,
    modality: str | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    key: Place | None = None,
) -> ScanResult:
    """Find the images in folders, and write a manifest of them.

    Args:
        folders: folders of DICOM, NIfTI, PNG, JPEG or TIFF.
        out: the manifest; `rejected.csv` beside it says why other files were left out.
        labels: folder of label files that have the same names as the images.
        pair: patterns `IMAGE=LABEL` that tell which label belongs to which image.
        table: CSV file with one row per image.
        id: column of the table with the file name or path.
        columns: which column holds what, such as `{"class": "finding"}`.
        patient_from: regular expression that finds the patient in a path, by its first group if it has one.
        modality: of images whose files do not tell it, such as "MR".
        split: shares of train, val and test, by patient.
        seed: of the split.
        key: secret key that turns patient names into ids; reuse that of an earlier scan to get the same ids.

    Returns:
        The rows of the manifest, what was left out, and notices of what looked odd.

    Raises:
        InputError: no image was found, or an argument makes no sense.
    """
    from medssl.data.scan.scan import scan as run

    with progress() as update:
        return run(
            [Path(folder) for folder in ([folders] if isinstance(folders, str | os.PathLike) else folders)],
            Path(out),
            labels=_path(labels),
            pairs=tuple(pair),
            table=_path(table),
            id_column=id,
            columns={} if columns is None else columns,
            patient_from=patient_from,
            modality=modality,
            split=split,
            seed=seed,
            key=_path(key),
            progress=update,
        )


def prepare(
    manifest: Place,
    out: Place,
    *,
    preset: str,
    spacing: Sequence[float] | str | None = None,
    channels: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    label_map: Mapping[int, int] | None = None,
    keep_small: bool = False,
    rescale: Sequence[float] | None = None,
    modality: str | None = None,
    min_slices: int | None = None,
    description: str | None = None,
    workers: int = 1,
) -> Cache:
    """Orient, resample, crop to the body and store every image of a manifest for random access; resumable.

    Args:
        manifest: the manifest of `scan`.
        out: the folder of the cache.
        preset: mr, ct, pet, xray, pathology or ultrasound.
        spacing: target spacing in mm, in index order (Z,Y,X or Y,X), or "isotropic"; None: as stored.
        channels: co-registered series that become channels, such as `["FLAIR", "T1"]`.
        window: the stored values that become 0 and 1, in place of the preset's.
        label_map: class numbers of stored label values, such as `{255: 1}`.
        keep_small: keep a voxel of each part of a label that resampling would lose.
        rescale: slope and intercept that make stored values Hounsfield units, or what else the preset expects.
        modality: only images of this modality, such as "CT".
        min_slices: only volumes of at least so many slices.
        description: only images whose series description or path fits this regular expression.
        workers: processes to use.

    Raises:
        InputError: `out` holds another cache, or no image could be prepared.
    """
    from medssl.data.prepare import prepare as run

    with progress() as update:
        return run(
            Path(manifest),
            Path(out),
            preset=preset,
            spacing=spacing,
            channels=channels,
            window=window,
            label_map=label_map,
            keep_small=keep_small,
            rescale=rescale,
            modality=modality,
            min_slices=min_slices,
            description=description,
            workers=workers,
            progress=update,
        )


def convert(manifest: Place, out: Place) -> list[Path]:
    """Write each image of a manifest as NIfTI in its native grid; returns the files."""
    from medssl.data.convert import convert as run

    with progress() as update:
        return run(Path(manifest), Path(out), progress=update)


def open_cache(path: Place) -> Cache:
    """Open what `prepare` wrote: `cache.cases`, `cache.image(id)`, `cache.label(id)`. Raises `InputError`."""
    from medssl.data.cache import Cache

    return Cache(Path(path))


def _path(given: Place | None) -> Path | None:
    return None if given is None else Path(given)
