"""From a manifest to a cache: orient, crop to the patient, resample, convert to the smallest safe type. Resumable."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.data import cache, manifest, stack
from medssl.data.cache import Cache
from medssl.data.files import read_csv
from medssl.data.parallel import machine
from medssl.data.parallel.workers import count, mapped
from medssl.data.preparing import shards, spacings
from medssl.data.preparing.fill import add, claim, finish, nothing_prepared, write_splits
from medssl.data.preparing.select import one_modality, select
from medssl.data.preparing.settings import label_options, settings
from medssl.data.reject import Rejected
from medssl.data.split import stem_of, with_ids
from medssl.types import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BYTES = 24  # of memory that preparing takes for each voxel of an image


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
    n4: bool = False,
    modality: str | None = None,
    min_slices: int | None = None,
    description: str | None = None,
    splits: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Cache:
    """Prepare every image of a manifest into the cache `out`; see `medssl.api_data.PrepareOptions`.

    Raises `InputError` for bad settings, a cache at `out` made with others, or if no image could be prepared.
    """
    found = manifest.read(Path(manifest_path))
    chosen, unwanted = select(found, modality=modality, min_slices=min_slices, description=description)
    notices = one_modality(chosen.rows, preset, found.path.name) if modality is None else []
    jobs, rejected = _jobs(chosen, channels, unwanted)
    own = shards.part_of(jobs, shard)
    named = None if splits is None else with_ids(Path(splits), _names(found, jobs))
    out, secret, spacing = Path(out), manifest.key_of(found), spacings.resolved(spacing, jobs)
    preprocessing = settings(preset, [job.rows[0].shape for job in jobs], spacing, channels, window, rescale, n4)
    head = claim(out, preprocessing, digest(found), label_options(label_map, keep_small), secret)
    lost = _fill(own, out, head, secret, workers or _affordable(own), progress)
    if shard is not None:
        lost, waiting = shards.joined(out, lost, [job.rows[0].id for job in jobs])
        if waiting:
            return Cache(out, waiting=waiting)
    notices += write_splits(out, named) if named is not None else []
    return finish(out, head, rejected | lost, notices, manifest.left_out(found))


def _jobs(
    chosen: manifest.Manifest, channels: Sequence[str] | None, unwanted: Mapping[str, str]
) -> tuple[list[stack.Job], dict[str, str]]:
    """What is to be prepared, and why the other images are not. Raises `InputError` if nothing is."""
    jobs, rejected = stack.groups(chosen, channels)
    if not jobs:
        raise nothing_prepared(rejected | dict(unwanted))
    return jobs, rejected | dict(unwanted)


def _fill(
    jobs: Sequence[stack.Job],
    out: Path,
    head: Mapping[str, Any],
    secret: bytes | None,
    workers: int,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, str]:
    """Prepare the images that are missing or damaged; returns the images that could not be used, with the reason."""
    todo = [job for job in jobs if not cache.is_whole(out, job.rows[0].id)]
    lost = {}
    for done, (name, reason) in enumerate(_results(todo, out, head, secret, workers), len(jobs) - len(todo) + 1):
        if reason:
            lost[name] = reason
        if progress:
            progress("prepare", done, len(jobs))
    return lost


def _names(found: manifest.Manifest, jobs: Sequence[stack.Job]) -> dict[str, list[str]]:
    """All names that a split file may use for a case: the ids and file names of all its channels."""
    named = {row.id: [row.id, stem_of(row.source)] for row in found.rows}
    joined = {job.rows[0].id: [name for row in job.rows for name in named[row.id]] for job in jobs}
    channels = {row.id for job in jobs for row in job.rows[1:]}
    return {name: names for name, names in {**named, **joined}.items() if name not in channels}


def digest(found: manifest.Manifest) -> str:
    """SHA-256 of a manifest with the table and boxes beside it."""
    files = (found.path, table_of(found), found.boxes)
    return cache.sha256(b"\0".join(file.read_bytes() if file.is_file() else b"" for file in files))


def table_of(found: manifest.Manifest) -> Path:
    """Path of the further columns of the user's table, if there are any: beside the manifest."""
    return found.path.with_suffix(".table.csv")


def _results(
    jobs: Sequence[stack.Job], out: Path, head: Mapping[str, Any], secret: bytes | None, workers: int
) -> Iterator[tuple[str, str]]:
    """(id, why it was skipped or an empty text) of each image, as soon as it is done."""
    yield from mapped(partial(_one, out=out, head=head, secret=secret), jobs, workers)


def _affordable(jobs: Sequence[stack.Job]) -> int:
    """As many processes as there are cores, and as half of the memory holds of the largest images."""
    largest = max((BYTES * len(job.rows) * math.prod(job.rows[0].shape) for job in jobs), default=0)
    room = machine.memory() / 2
    return max(1, min(count(None), len(jobs), int(room / largest) if largest and room > 0 else 1))


def _one(job: stack.Job, out: Path, head: Mapping[str, Any], secret: bytes | None) -> tuple[str, str]:
    name = job.rows[0].id
    try:
        volume, label = stack.load(job)
    except Rejected as error:
        return name, error.reason  # its detail may hold a path, which stays out of caches
    except OSError as error:
        return name, f"cannot be read ({type(error).__name__})"
    try:
        add(out, head, _facts(job, secret), volume, label, secret)
    except Rejected as error:
        return name, str(error)
    return name, ""


def _facts(job: stack.Job, secret: bytes | None) -> dict[str, Any]:
    row = job.rows[0]
    return {
        "id": row.id,
        "patient": row.patient,
        "patient_known": manifest.PATIENT_GUESSED not in row.qc,
        "split": row.split,
        "classes": row.classes,
        "stem": manifest.keyed_hash(secret, "stem", stem_of(row.source)) if secret else "",
        "table": _table(table_of(job.manifest)).get(row.id, {}),
        "boxes": _boxes(job.manifest.boxes).get(row.id, ()),
        "looked": "" if row.looked == "mask" else row.looked,
    }


@lru_cache(maxsize=2)
def _table(file: Path) -> dict[str, dict[str, str]]:
    """Further columns of the user's table by case id, without empty cells."""
    return {r["id"]: {name: value for name, value in r.items() if value and name != "id"} for r in read_csv(file)}


@lru_cache(maxsize=2)
def _boxes(file: Path) -> dict[str, list[Box]]:
    """The boxes by case id, in voxels of the source."""
    found: dict[str, list[Box]] = defaultdict(list)
    for record in read_csv(file):
        start, stop = (tuple(float(v) for v in record[side].split("x")) for side in ("start", "stop"))
        mm = float(record["diameter_mm"]) if record.get("diameter_mm") else None
        found[record["id"]].append(Box(record["class"], start, stop, record.get("ignore") == "1", mm))
    return found
