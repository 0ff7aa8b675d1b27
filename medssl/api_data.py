"""The data verbs of the library: scan, prepare, convert, open_cache. See `medssl.api`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from medssl.messages import progress
from medssl.runs import Place
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.data.cache import Cache
    from medssl.data.scan.scan import ScanResult


LIKE = "like "  # before the run directory in `spacing`
NAMES = {"pair": "pairs", "id": "id_column"}  # options of the command line -> arguments in medssl.data


class ScanOptions(TypedDict, total=False):
    """Options of `scan`; defaults are those of `medssl scan --help`."""

    labels: Place  # folder of label files that have the same names as the images
    pair: Sequence[str]  # patterns IMAGE=LABEL that say which label belongs to which image; * stands for the same text
    table: Place  # CSV file with one row per image
    id: str  # column of the table with the file name or path
    columns: Mapping[str, str]  # which column holds what, such as {"class": "finding"}
    boxes: Place  # file of boxes in a public format
    boxes_as: str  # which: rsna, nih, vindr, luna, coco or nndet; by default as its header shows
    patient_from: str  # regular expression that finds the patient in a path
    modality: str  # of images whose files do not state it, such as "MR"
    split: Sequence[float]  # shares of the patients for train, val (and test); images in a folder called test stay test
    seed: int  # of the split
    largest_block: bool  # of a DICOM stack with gaps, keep the longest block of evenly spaced slices
    structures: Mapping[str, int]  # class number of structures in DICOM SEG and RTSTRUCT, such as {"GTV*": 1}
    frames: str  # which time points of 4D NIfTI files become images: first, mean or each
    key: Place  # file with the secret that turns names into ids: reuse that of an earlier scan for the same ids
    workers: int  # number of processes; by default one for each core where they can be forked, else one


class PrepareOptions(TypedDict, total=False):
    """Options of `prepare`, all optional."""

    spacing: Sequence[float] | str  # in mm, in index order (Z,Y,X or Y,X); "isotropic", "median" or "like RUN"
    channels: Sequence[str]  # co-registered series that become channels, such as ["FLAIR", "T1"]
    window: tuple[float, float]  # the stored values that are scaled to 0 and 1, instead of the preset's
    label_map: Mapping[int, int]  # class number of each stored label value, such as {255: 1}
    keep_small: bool  # keep one voxel of each part of a label that resampling would lose
    rescale: Sequence[float]  # slope and intercept that convert values of another unit, such as (1, -1024) for raw CT
    n4: bool  # correct the shading of MR images with SimpleITK's N4
    modality: str  # only images of this modality
    min_slices: int  # only volumes with at least this many slices
    splits: Place  # split file (JSON, subset -> file names), written into the cache with ids
    shard: tuple[int, int]  # (i, n): prepare only the i-th of n parts
    description: str  # only images whose series description or path matches this regular expression
    workers: int  # number of processes; by default one for each core where they can be forked, else one


def scan(folders: Place | Sequence[Place], out: Place = "manifest.csv", **options: Unpack[ScanOptions]) -> ScanResult:
    """Find the images in folders and write a manifest of them.

    Args:
        folders: one or more folders of DICOM, NIfTI, PNG, JPEG or TIFF files.
        out: where to write the manifest; `rejected.csv` beside it says why other files were skipped.
        **options: labels, a table, a split, ...: see `ScanOptions`.

    Returns:
        The rows of the manifest, the skipped files, and notices about what looked odd.

    Raises:
        InputError: no image was found, or an option is wrong.
    """
    from medssl.data.scan.scan import scan as run

    given: dict[str, Any] = {NAMES.get(name, name): value for name, value in options.items() if value is not None}
    given |= {name: Path(given[name]) for name in ("labels", "table", "boxes", "key") if name in given}
    given = {"id_column": "id", "columns": {}, **given}
    places = [folders] if isinstance(folders, str | os.PathLike) else folders
    with progress() as update:
        return run([Path(folder) for folder in places], Path(out), progress=update, **given)


def prepare(manifest: Place, out: Place, *, preset: str, **options: Unpack[PrepareOptions]) -> Cache:
    """Orient, crop to the patient, resample and store every image of a manifest as training reads it.

    An interrupted preparation is continued by the same call.

    Args:
        manifest: the manifest that `scan` wrote.
        out: the folder to write: the cache.
        preset: mr, ct, pet, xray, pathology or ultrasound.
        **options: spacing, channels, a window, ...: see `PrepareOptions`.

    Raises:
        InputError: `out` holds another cache, an option is wrong, or no image could be prepared.
    """
    from medssl.data.prepare import prepare as run

    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    given["spacing"] = _like(given.get("spacing"))
    with progress() as update:
        return run(Path(manifest), Path(out), preset=preset, progress=update, **given)


def _like(spacing: Sequence[float] | str | None) -> Sequence[float] | str | None:
    """The spacing of the run's images in place of `like RUN`."""
    if not isinstance(spacing, str) or not spacing.startswith(LIKE):
        return spacing
    from medssl.runtime import init_weights

    where = init_weights.find(spacing.removeprefix(LIKE).strip())
    made = init_weights.about(where).get("preprocessing")
    if not made:
        raise InputError(f"--spacing {spacing}: the run does not say how its images were prepared")
    found: Sequence[float] | str | None = made["spacing"]
    return found


def convert(manifest: Place, out: Place) -> list[Path]:
    """Write each image of a manifest, and its label, as NIfTI on its original grid.

    Args:
        manifest: the manifest that `scan` wrote.
        out: the folder for the NIfTI files; `rejected.csv` in it lists the images that could not be written.

    Returns:
        The paths of the images.

    Raises:
        InputError: no image could be written.
    """
    from medssl.data.convert import convert as run

    with progress() as update:
        return run(Path(manifest), Path(out), progress=update)


def open_cache(path: Place) -> Cache:
    """Open a cache that `prepare` wrote.

    Args:
        path: the folder of the cache.

    Returns:
        The cache: `cache.cases` describes each image by its id, `cache.image(id)` and `cache.label(id)` are arrays
        (C,*S) and (1,*S) that are read in part when they are sliced.

    Raises:
        InputError: there is no complete cache at `path`.
    """
    from medssl.data.cache import Cache

    return Cache(Path(path))
