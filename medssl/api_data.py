"""The library's verbs on data: scan, prepare, convert, open_cache. See `medssl.api`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from medssl.messages import progress
from medssl.runs import Place

if TYPE_CHECKING:
    from medssl.data.cache import Cache
    from medssl.data.scan.scan import ScanResult


NAMES = {"pair": "pairs", "id": "id_column"}  # words of the command line, as the data room calls them


class ScanOptions(TypedDict, total=False):
    """What `scan` may be told beside its folders."""

    labels: Place  # folder of label files that have the same names as the images
    pair: Sequence[str]  # patterns IMAGE=LABEL that tell which label belongs to which image
    table: Place  # CSV file with one row per image
    id: str  # column of the table with the file name or path
    columns: Mapping[str, str]  # which column holds what, such as {"class": "finding"}
    patient_from: str  # regular expression that finds the patient in a path
    modality: str  # of images whose files do not tell it
    split: Sequence[float]  # shares of train, val and test, by patient
    seed: int  # of the split
    largest_block: bool  # of a DICOM stack with gaps or uneven slices, keep the longest run of even ones
    key: Place  # secret key that turns patient names into ids: reuse that of an earlier scan to get the same ids


class PrepareOptions(TypedDict, total=False):
    """What `prepare` may be told beside the preset."""

    spacing: Sequence[float] | str  # target spacing in mm, in index order (Z,Y,X or Y,X), or "isotropic"
    channels: Sequence[str]  # co-registered series that become channels, such as ["FLAIR", "T1"]
    window: tuple[float, float]  # the stored values that become 0 and 1, in place of the preset's
    label_map: Mapping[int, int]  # class numbers of stored label values, such as {255: 1}
    keep_small: bool  # keep a voxel of each part of a label that resampling would lose
    rescale: Sequence[float]  # slope and intercept for values in another unit, such as (1, -1024) for raw CT
    modality: str  # only images of this modality
    min_slices: int  # only volumes of at least so many slices
    splits: Place  # split file (subset -> file names), written into the cache with ids
    shard: tuple[int, int]  # (i, n): only the i-th of n parts
    description: str  # only images whose series description or path fits this regular expression
    workers: int  # processes to use


def scan(folders: Place | Sequence[Place], out: Place = "manifest.csv", **options: Unpack[ScanOptions]) -> ScanResult:
    """Find the images in folders, and write a manifest of them.

    Args:
        folders: folders of DICOM, NIfTI, PNG, JPEG or TIFF.
        out: the manifest; `rejected.csv` beside it says why other files were left out.
        **options: labels, a table, a split, ...: see `ScanOptions`.

    Returns:
        The rows of the manifest, what was left out, and notices of what looked odd.

    Raises:
        InputError: no image was found, or an argument makes no sense.
    """
    from medssl.data.scan.scan import scan as run

    given: dict[str, Any] = {NAMES.get(name, name): value for name, value in options.items() if value is not None}
    given |= {name: Path(given[name]) for name in ("labels", "table", "key") if name in given}
    given = {"id_column": "id", "columns": {}, **given}
    places = [folders] if isinstance(folders, str | os.PathLike) else folders
    with progress() as update:
        return run([Path(folder) for folder in places], Path(out), progress=update, **given)


def prepare(manifest: Place, out: Place, *, preset: str, **options: Unpack[PrepareOptions]) -> Cache:
    """Orient, resample, crop to the body and store every image of a manifest for random access; resumable.

    Args:
        manifest: the manifest of `scan`.
        out: the folder of the cache.
        preset: mr, ct, pet, xray, pathology or ultrasound.
        **options: spacing, channels, a window, ...: see `PrepareOptions`.

    Raises:
        InputError: `out` holds another cache, or no image could be prepared.
    """
    from medssl.data.prepare import prepare as run

    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    with progress() as update:
        return run(Path(manifest), Path(out), preset=preset, progress=update, **given)


def convert(manifest: Place, out: Place) -> list[Path]:
    """Write each image of a manifest as NIfTI in its native grid; returns the files."""
    from medssl.data.convert import convert as run

    with progress() as update:
        return run(Path(manifest), Path(out), progress=update)


def open_cache(path: Place) -> Cache:
    """Open what `prepare` wrote: `cache.cases`, `cache.image(id)`, `cache.label(id)`. Raises `InputError`."""
    from medssl.data.cache import Cache

    return Cache(Path(path))
