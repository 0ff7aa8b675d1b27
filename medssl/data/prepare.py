"""From a manifest to a cache: orient, crop to the patient, resample, and keep in the smallest safe type. Resumable."""

from __future__ import annotations

import csv
import math
import secrets
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.data import cache, manifest, presets, stack
from medssl.data.cache import Box, Cache, Case
from medssl.data.grid import MARGIN_MM, box_to_array, cut_away, label_to_array, to_array, to_source
from medssl.data.reject import Rejected
from medssl.data.split import stem_hash, stem_of
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from medssl.data.read.volume import Volume

__all__ = ["prepare", "to_array", "to_source"]

SHOWN = 3  # reasons told when nothing could be prepared


def prepare(
    manifest_path: str | Path,
    out: str | Path,
    *,
    preset: str,
    spacing: Sequence[float] | str | None = None,
    channels: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Cache:
    """Prepare every image of a manifest into the cache folder `out`, going on where a stopped run left it.

    `spacing` in mm and index order, `"isotropic"` (each image's own mean spacing), or None for the native grid;
    `channels` names co-registered series to stack (see `stack.groups`); `window` replaces the preset's stored values
    of 0 and 1. What could not be used is in the cache's `rejected`, what looked odd in its `notices`.

    Raises:
        InputError: bad settings, a cache made with others at `out`, or no image that could be prepared.
    """
    found = manifest.read(Path(manifest_path))
    jobs, rejected = stack.groups(found, channels)
    shapes = [job.rows[0].shape for job in jobs]
    out, preprocessing = Path(out), settings(preset, shapes, spacing, channels, window)
    head = claim(out, preprocessing, digest(found))
    todo = [job for job in jobs if not (out / "cases" / f"{job.rows[0].id}.json").is_file()]
    for done, (name, reason) in enumerate(_results(todo, out, head, workers), len(jobs) - len(todo) + 1):
        if reason:
            rejected[name] = reason
        if progress:
            progress("prepare", done, len(jobs))
    return finish(out, head, rejected, _notices(jobs, preset), manifest.left_out(found))


def settings(
    preset: str,
    shapes: Sequence[tuple[int, ...]],
    spacing: Sequence[float] | str | None = None,
    channels: Sequence[str] | None = None,
    window: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The preprocessing of a cache as plain JSON; most of its images' `shapes` (*S) decide whether it is 2D or 3D."""
    chosen = presets.find(preset)
    dims = Counter(len(shape) for shape in shapes).most_common(1)[0][0]
    if isinstance(spacing, str) and spacing != "isotropic":
        raise InputError(f"spacing is {spacing!r}: give {dims} numbers in mm, or isotropic")
    if spacing is not None and not isinstance(spacing, str):
        spacing = [float(mm) for mm in spacing]
        if len(spacing) != dims or not all(0 < mm < math.inf for mm in spacing):
            raise InputError(f"spacing is {spacing}: {preset} images here take {dims} positive numbers in mm")
    window = window or chosen.window
    if window is not None and not window[0] < window[1]:
        raise InputError(f"window is {tuple(window)}: the first value must be below the second")
    return {
        "preset": preset,
        "spatial_dims": dims,
        "spacing": spacing,
        "channels": list(channels) if channels else None,
        "window": [float(value) for value in window] if window else None,
        "range": None if window else presets.RANGE,
        "margin": MARGIN_MM,
    }


def claim(out: Path, preprocessing: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The head of the cache at `out`, new or begun before with the same settings. Raises InputError for others."""
    if (out / "cache.json").is_file():
        head = cache.read_settings(out)
        for name, value in {"manifest": source, **preprocessing}.items():
            before = {"manifest": head["manifest"], **head["preprocessing"]}.get(name)
            if before != value:
                raise InputError(f"{out} was prepared with {name} {before}, now it is {value}: give another --out")
        return head
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and no cache: give another --out")
    head = {
        "format": cache.FORMAT,
        "preprocessing": dict(preprocessing),
        "manifest": source,
        "salt": secrets.token_hex(8),
        "complete": False,
    }
    try:
        cache.write_json(out / "cache.json", head)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): give another --out") from None
    return head


def add(out: Path, head: Mapping[str, Any], facts: Mapping[str, Any], volume: Volume, label: Volume | None) -> None:
    """Prepare one volume and its label into the cache; `facts` are the fields of `Case` that pixels do not tell.

    Boxes in `facts` lie in voxels of the source and are brought into the array. Raises `Rejected`.
    """
    preprocessing = head["preprocessing"]
    array, geometry = to_array(volume, preprocessing)
    mask = None if label is None else label_to_array(label, geometry)
    geometry["label_cut"] = 0.0 if label is None else cut_away(label, geometry)
    window = geometry["foreground"]
    case = Case(
        **{**facts, "boxes": tuple(box_to_array(box, geometry) for box in facts.get("boxes", ()))},
        shape=array.shape[1:],
        spacing=geometry["array"]["spacing"],
        channels=array.shape[0],
        modality=volume.modality,
        preset=preprocessing["preset"],
        has_label=mask is not None,
        intensity=tuple(geometry["intensity"]),
        foreground=Window(window["start"], window["size"]),
        spacing_known=volume.spacing_known,
    )
    cache.write_case(out, case, array, mask, geometry)


def finish(
    out: Path,
    head: Mapping[str, Any],
    rejected: Mapping[str, str],
    notices: Sequence[str],
    scanned: Mapping[str, int] | None = None,
) -> Cache:
    """Write the counts that make the cache complete, and open it; `scanned`: what the scan left out, by reason.

    Raises InputError if it holds no case.
    """
    records = [cache.read_record(file) for file in (out / "cases").glob("*.json")]
    reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(rejected.values()).most_common(SHOWN))
    if not records:
        _release(out)
        raise InputError(f"none of {len(rejected)} images could be prepared ({reasons}): is the preset the right one?")
    cuts = [share for record in records if (share := record["geometry"]["label_cut"])]
    notices = list(notices)
    if cuts:
        notices.append(f"the crop leaves out labelled voxels of {len(cuts)} cases, {max(cuts):.1%} at most")
    if rejected:
        notices.append(f"{len(rejected)} images were left out ({reasons}): see rejected in cache.json")
    left_out = Counter(scanned or {}) + Counter(rejected.values())
    ending = {"complete": True, "cases": len(records), "rejected": dict(rejected), "notices": notices}
    ending["left_out"] = dict(left_out.most_common())
    cache.write_json(out / "cache.json", {**head, **ending})
    return Cache(out)


def _release(out: Path) -> None:
    """Take back the claim on a cache that holds no case, so that the next try may choose other settings."""
    (out / "cache.json").unlink(missing_ok=True)
    for folder in (out / "arrays", out / "cases", out):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def digest(found: manifest.Manifest) -> str:
    """SHA-256 of a manifest and of the table and boxes beside it."""
    files = (found.path, table_of(found), found.boxes)
    return cache.sha256(b"\0".join(file.read_bytes() if file.is_file() else b"" for file in files))


def table_of(found: manifest.Manifest) -> Path:
    """Where further columns of the user's table lie, if there are any: beside the manifest."""
    return found.path.with_suffix(".table.csv")


def _results(jobs: Sequence[stack.Job], out: Path, head: Mapping[str, Any], workers: int) -> Iterator[tuple[str, str]]:
    """Pairs (id, why it was left out, or nothing), as they get done."""
    if workers <= 1 or len(jobs) < 2:
        yield from (_one(job, out, head) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_one, job, out, head) for job in jobs]
        yield from (future.result() for future in as_completed(waiting))


def _one(job: stack.Job, out: Path, head: Mapping[str, Any]) -> tuple[str, str]:
    name = job.rows[0].id
    try:
        volume, label = stack.load(job)
    except Rejected as error:
        return name, error.reason  # its detail may hold a path, which stays out of caches
    except OSError as error:
        return name, f"cannot be read ({type(error).__name__})"
    try:
        add(out, head, _facts(job, head["salt"]), volume, label)
    except Rejected as error:
        return name, str(error)
    return name, ""


def _facts(job: stack.Job, salt: str) -> dict[str, Any]:
    row = job.rows[0]
    return {
        "id": row.id,
        "patient": row.patient,
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


def _notices(jobs: Sequence[stack.Job], preset: str) -> list[str]:
    chosen = presets.find(preset)
    odd = Counter(job.rows[0].modality for job in jobs if job.rows[0].modality not in (*chosen.modalities, "OT"))
    return [f"{count} images of modality {name} were prepared with preset {preset}" for name, count in odd.items()]
