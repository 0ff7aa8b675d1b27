"""From a manifest to a cache: orient, crop to the patient, resample, and keep in the smallest safe type. Resumable."""

from __future__ import annotations

import csv
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.data import cache, manifest, stack
from medssl.data.cache import Box
from medssl.data.preparing.fill import add, claim, finish, nothing_prepared
from medssl.data.preparing.select import one_modality, select
from medssl.data.preparing.settings import label_options, settings
from medssl.data.reject import Rejected
from medssl.data.split import stem_hash, stem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from medssl.data.cache import Cache


def prepare(
    manifest_path: str | Path,
    out: str | Path,
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
    progress: Callable[[str, int, int], None] | None = None,
) -> Cache:
    """Prepare every image of a manifest into the cache folder `out`, going on where a stopped run left it.

    `spacing` in mm and index order, `"isotropic"` (each image's own mean spacing), or None for the native grid;
    `channels` names co-registered series to stack (see `stack.groups`); `window` replaces the preset's stored values
    of 0 and 1; `label_map` gives stored label values their class numbers; `keep_small` keeps a voxel of each part of a
    label that resampling would lose; `rescale` (slope, intercept) makes stored values what the preset takes them for;
    `modality`, `min_slices` and `description` choose among the images (see `select.select`). What could not be used is
    in the cache's `rejected`, what looked odd in its `notices`.

    Raises:
        InputError: bad settings, a cache made with others at `out`, or no image that could be prepared.
    """
    found = manifest.read(Path(manifest_path))
    chosen, unwanted = select(found, modality=modality, min_slices=min_slices, description=description)
    notices = one_modality(chosen.rows, preset, found.path.name) if modality is None else []
    jobs, rejected = stack.groups(chosen, channels)
    rejected |= unwanted
    if not jobs:
        raise nothing_prepared(rejected)
    shapes = [job.rows[0].shape for job in jobs]
    out, preprocessing = Path(out), settings(preset, shapes, spacing, channels, window, rescale)
    secret = manifest.key_of(found)
    head = claim(out, preprocessing, digest(found), label_options(label_map, keep_small), secret)
    todo = [job for job in jobs if not cache.is_whole(out, job.rows[0].id)]
    for done, (name, reason) in enumerate(_results(todo, out, head, secret, workers), len(jobs) - len(todo) + 1):
        if reason:
            rejected[name] = reason
        if progress:
            progress("prepare", done, len(jobs))
    return finish(out, head, rejected, notices, manifest.left_out(found))


def digest(found: manifest.Manifest) -> str:
    """SHA-256 of a manifest and of the table and boxes beside it."""
    files = (found.path, table_of(found), found.boxes)
    return cache.sha256(b"\0".join(file.read_bytes() if file.is_file() else b"" for file in files))


def table_of(found: manifest.Manifest) -> Path:
    """Where further columns of the user's table lie, if there are any: beside the manifest."""
    return found.path.with_suffix(".table.csv")


def _results(
    jobs: Sequence[stack.Job], out: Path, head: Mapping[str, Any], secret: bytes | None, workers: int
) -> Iterator[tuple[str, str]]:
    """Pairs (id, why it was left out, or nothing), as they get done."""
    if workers <= 1 or len(jobs) < 2:
        yield from (_one(job, out, head, secret) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_one, job, out, head, secret) for job in jobs]
        yield from (future.result() for future in as_completed(waiting))


def _one(job: stack.Job, out: Path, head: Mapping[str, Any], secret: bytes | None) -> tuple[str, str]:
    name = job.rows[0].id
    try:
        volume, label = stack.load(job)
    except Rejected as error:
        return name, error.reason  # its detail may hold a path, which stays out of caches
    except OSError as error:
        return name, f"cannot be read ({type(error).__name__})"
    try:
        add(out, head, _facts(job, head["salt"]), volume, label, secret)
    except Rejected as error:
        return name, str(error)
    return name, ""


def _facts(job: stack.Job, salt: str) -> dict[str, Any]:
    row = job.rows[0]
    return {
        "id": row.id,
        "patient": row.patient,
        "patient_known": manifest.PATIENT_GUESSED not in row.qc,
        "split": row.split,
        "classes": row.classes,
        "stem": stem_hash(salt, stem_of(row.source)),
        "table": _table(table_of(job.manifest)).get(row.id, {}),
        "boxes": _boxes(job.manifest.boxes).get(row.id, ()),
    }


@lru_cache(maxsize=2)
def _table(file: Path) -> dict[str, dict[str, str]]:
    """Further columns of the user's table by case id, empty ones left out."""
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    return {r["id"]: {name: value for name, value in r.items() if value and name != "id"} for r in records}


@lru_cache(maxsize=2)
def _boxes(file: Path) -> dict[str, list[Box]]:
    """The boxes by case id, in voxels of the source."""
    found: dict[str, list[Box]] = defaultdict(list)
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as stream:
            for record in csv.DictReader(stream):
                start, stop = (tuple(float(v) for v in record[side].split("x")) for side in ("start", "stop"))
                found[record["id"]].append(Box(record["class"], start, stop))
    return found
