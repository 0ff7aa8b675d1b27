"""Filling a cache: claim its folder, add cases, finish; a folder that gets no case is freed again."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from medssl.data import cache
from medssl.data.cache import Cache, Case
from medssl.data.files import writable, write_json
from medssl.data.fingerprint import fingerprint
from medssl.data.grid import box_to_array, to_array
from medssl.data.manifest import keyed_hash
from medssl.data.preparing import shards
from medssl.data.preparing.label import label_to_array, lost_labels
from medssl.data.preparing.settings import NO_LABEL_OPTIONS
from medssl.data.reject import rejecting
from medssl.types import InputError, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medssl.data.read.volume import Volume

ABANDONED = 3600  # seconds after which a partly written file counts as left behind
SHOWN = 3  # reasons named when nothing could be prepared


def claim(
    out: Path,
    preprocessing: Mapping[str, Any],
    source: str,
    labels: Mapping[str, Any] = NO_LABEL_OPTIONS,
    secret: bytes | None = None,
) -> dict[str, Any]:
    """Start a cache at `out`, or continue one of the same settings; returns its cache.json. Raises `InputError`."""
    if (out / "cache.json").is_file():
        head = cache.read_settings(out)
        was = {"manifest": head["manifest"], "labels": head.get("labels", NO_LABEL_OPTIONS), **head["preprocessing"]}
        for name, value in {"manifest": source, "labels": dict(labels), "n4": None, **preprocessing}.items():
            if (before := was.get(name)) != value:
                raise InputError(f"{out} was prepared with {name} {before}, not {value}: choose another --out")
        return head
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and not a cache: choose another --out")
    head = {
        "format": cache.FORMAT,
        "preprocessing": dict(preprocessing),
        "labels": dict(labels),
        "manifest": source,
        "salt": (salt := "" if secret else secrets.token_hex(8)),
        "fingerprint_key": keyed_hash(secret or salt.encode(), "fingerprint", "of whole images"),
        "complete": False,
    }
    with writable(f"--out {out}", advice="choose another folder"):
        write_json(out / "cache.json", head)
    return cache.read_settings(out)  # that of another process, if two started at once


def add(
    out: Path,
    head: Mapping[str, Any],
    facts: Mapping[str, Any],
    volume: Volume,
    label: Volume | None,
    secret: bytes | None = None,
) -> None:
    """Prepare one volume and its label into the cache; `facts` are the fields of `Case` that do not come from pixels.

    `secret` is the key of fingerprints; with None it is the salt of the cache, so that only its own can be compared.
    Boxes in `facts` are in voxels of the source and are converted to voxels of the array. Raises `Rejected`.
    """
    preprocessing = head["preprocessing"]
    with rejecting(""):
        array, geometry = to_array(volume, preprocessing)
        mask = None if label is None else label_to_array(label, geometry, head.get("labels", NO_LABEL_OPTIONS))
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
        fingerprint=fingerprint(volume, secret or head["salt"].encode()),
    )
    cache.write_case(out, case, array, mask, geometry)


def finish(
    out: Path,
    head: Mapping[str, Any],
    rejected: Mapping[str, str],
    notices: Sequence[str],
    scanned: Mapping[str, int] | None = None,
) -> Cache:
    """Write the counts that mark the cache as complete, and open it; `scanned` counts what the scan skipped, by reason.

    Raises `InputError` if it contains no case.
    """
    records = [cache.read_record(file) for file in (out / "cases").glob("*.json")]
    if not records:
        _release(out)
        raise nothing_prepared(rejected)
    _clear(out)
    notices = [*notices, *lost_labels([record["geometry"] for record in records])]
    if rejected:
        notices.append(f"{len(rejected)} images were skipped ({_reasons(rejected)}): see rejected in cache.json")
    left_out = Counter(scanned or {}) + Counter(rejected.values())
    ending = {"complete": True, "cases": len(records), "rejected": dict(rejected), "notices": notices}
    ending["left_out"] = dict(left_out.most_common())
    write_json(out / "cache.json", {**head, **ending})
    shards.clear(out)
    return Cache(out)


def write_splits(out: Path, named: Mapping[str, Sequence[str]]) -> list[str]:
    """Write splits.json with the prepared cases; returns a notice about others."""
    there = {file.stem for file in (out / "cases").glob("*.json")}
    kept = {name: [case for case in cases if case in there] for name, cases in named.items()}
    write_json(out / "splits.json", kept)
    lost = {case for cases in named.values() for case in cases} - there
    return [f"{len(lost)} images of the split file could not be used"] if lost else []


def nothing_prepared(rejected: Mapping[str, str]) -> InputError:
    """The error if no image could be prepared, with the reasons."""
    return InputError(
        f"none of {len(rejected)} images could be prepared ({_reasons(rejected)}): is the preset the right one?"
    )


def _reasons(rejected: Mapping[str, str]) -> str:
    return "; ".join(f"{count} x {reason}" for reason, count in Counter(rejected.values()).most_common(SHOWN))


def _clear(out: Path) -> None:
    """Remove partly written files of killed processes, but not what another process may be writing now."""
    for left in [*(out / "arrays").glob(".partial.*"), *(out / "cases").glob(".partial.*")]:
        if time.time() - left.stat().st_mtime > ABANDONED:
            left.unlink(missing_ok=True)


def _release(out: Path) -> None:
    """Free the folder of a cache without cases, so that the next try may use other settings."""
    shards.clear(out)
    (out / "cache.json").unlink(missing_ok=True)
    for folder in (out / "arrays", out / "cases", out):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
