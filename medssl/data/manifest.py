"""The manifest: one row per image, and beside it the files that contain paths. All of it stays with the data."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import os
import secrets
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.data import files
from medssl.data.entries import Entries
from medssl.data.split import part_name
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

COLUMNS = "id,image,label,class,patient,study,series,modality,shape,spacing,split,source,qc,looked".split(",")
PATIENT_GUESSED = "patient guessed"  # in `qc`: no table or header names the patient
MODALITY_GUESSED = "modality guessed"  # in `qc`: inferred from voxel values, as no header, table or option says it
UNCERTAIN = "?"  # after the name of a class: whoever labelled the image was not sure


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a manifest. Paths are relative to the root, identities are keyed hashes."""

    id: str
    image: str
    label: str = ""
    classes: tuple[str, ...] = ()
    patient: str = ""
    study: str = ""
    series: str = ""
    modality: str = "OT"
    shape: tuple[int, ...] = ()  # (Z,Y,X) or (Y,X)
    spacing: tuple[float, ...] = ()  # mm, in the order of shape
    split: str = ""
    source: str = ""
    qc: tuple[str, ...] = ()
    looked: str = ""  # how it was searched for lesions: mask, boxes, none (nothing found); empty: not known


@dataclass
class Manifest:
    """A manifest and the files beside it."""

    rows: list[Row]
    root: Path
    path: Path
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by id: "files", "frames" or None, ...

    def files(self, case: str) -> list[Path]:
        """The files of image `case`, in slice order."""
        return [self.root / name for name in self.entries[case]["files"]]

    def frames(self, case: str) -> list[tuple[int, int]] | None:
        """For multi-frame DICOM the slices of image `case` as (file number, frame number), in order; else None."""
        frames = self.entries[case].get("frames")
        return None if frames is None else [(file, frame) for file, frame in frames]

    def label_path(self, row: Row) -> Path | None:
        """Path of the label of `row`, or None."""
        return self.root / row.label if row.label else None

    @property
    def boxes(self) -> Path:
        """Path of the boxes of all images, if there are any (columns id,class,start,stop; voxels as in 10x20x30)."""
        return self.path.with_name("boxes.csv")


@files.uncollected()
def read(path: Path) -> Manifest:
    """Read a manifest and the files beside it. Raises `InputError` if one is missing or has other columns."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no manifest at {path}: make one with `medssl scan DIR --out {path}`")
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:  # what is no text has other columns
        reader = csv.reader(stream)
        columns = next(reader, None)
        if columns not in (COLUMNS, COLUMNS[:-1]):  # earlier versions have no `looked`
            raise InputError(f"{path} is not a manifest: it has columns {columns}, not {COLUMNS}")
        rows = [_parse(path, cells) for cells in reader if cells]
    about, lines = _companion(path, ".json"), _companion(path, ".files.jsonl")
    try:
        root = json.loads(about.read_text(encoding="utf-8"))["root"]
        entries = Entries(lines)
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{about.name} or {lines.name} beside {path} is damaged ({error}): scan again") from None
    lost = [row.id for row in rows if row.id not in entries]
    if lost:
        raise InputError(f"{path} lists {lost[0]}, but {path.stem}.files.jsonl does not: scan again")
    return Manifest(rows, _root(path, root), path, entries)


def write(
    path: Path,
    rows: Sequence[Row],
    root: Path,
    entries: Mapping[str, Mapping[str, Any]],
    rejected: Iterable[tuple[str, str, str]] = (),
    about: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the manifest and the files beside it, each whole or not at all; the manifest itself comes last."""
    path = Path(path)
    files.write_lines(path.with_suffix(".files.jsonl"), ({"id": row.id, **entries[row.id]} for row in rows))
    rejected_path = rejected_beside(path)
    files.write_csv(rejected_path, ["source", "reason", "detail"], rejected)
    facts = {"root": os.path.relpath(root, path.parent), "rejected": rejected_path.name, **(about or {})}
    files.write_json(path.with_suffix(".json"), facts)
    files.write_csv(path, COLUMNS, (_format(row) for row in rows))
    return Manifest(list(rows), Path(root), path, {case: dict(entry) for case, entry in entries.items()})


def refuse_foreign(path: Path) -> None:
    """Raise `InputError` if writing a manifest to `path` would overwrite a file that `scan` did not write."""
    facts, boxes = path.with_suffix(".json"), path.with_name("boxes.csv")
    first = {path: ",".join(COLUMNS), facts: "{", boxes: "id,class,start,stop"}
    for file, start in first.items():
        if file.exists() and not _text(file).startswith(start):
            raise InputError(f"{file} exists and was not written by scan; choose another --out")
    if facts.exists() and '"rejected":' not in _text(facts):
        raise InputError(f"{facts} exists and was not written by scan; choose another --out")


def _text(file: Path) -> str:
    """The text of a file beside the manifest, which may be another program's, in any encoding; empty if unreadable."""
    try:
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        return ""


def rejected_beside(path: Path) -> Path:
    """Path of the list of rejected files: rejected.csv, unless that belongs to another manifest."""
    for other in path.parent.glob("*.json"):
        if other.stem != path.stem and '"rejected": "rejected.csv"' in _text(other):
            return path.with_suffix(".rejected.csv")
    return path.with_name("rejected.csv")


def left_out(found: Manifest) -> dict[str, int]:
    """How many files the scan skipped, by reason; rejected.csv lists the files."""
    facts = json.loads(found.path.with_suffix(".json").read_text(encoding="utf-8"))
    if "left_out" in facts:
        return dict(facts["left_out"])
    listed = found.path.with_name(facts["rejected"])  # as earlier versions wrote it
    if not listed.is_file():
        return {}
    with listed.open(encoding="utf-8", newline="") as file:
        return dict(Counter(line["reason"] for line in csv.DictReader(file)).most_common())


def read_key(path: Path | None, beside: Path) -> bytes:
    """The secret key of a manifest's hashes: from `path` (must exist), else `<manifest>.key`, made once (mode 0600)."""
    if path is not None and not Path(path).is_file():
        raise InputError(f"there is no key file at {path}: leave --key out to make a new one")
    path = Path(path) if path is not None else beside.with_suffix(".key")
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
    key = path.read_text(encoding="utf-8").strip().encode()
    if len(key) < 16:
        raise InputError(f"the key in {path} has {len(key)} characters, but needs at least 16")
    return key


def key_of(found: Manifest) -> bytes | None:
    """The key of a manifest's hashes, or None if its file is gone."""
    facts = json.loads(found.path.with_suffix(".json").read_text(encoding="utf-8"))
    file = found.path.parent / facts.get("key", found.path.with_suffix(".key").name)
    return file.read_text(encoding="utf-8").strip().encode() if file.is_file() else None


def keyed_hash(key: bytes, kind: str, text: str) -> str:
    """12 hex digits of HMAC-SHA256; `kind` (patient, study, series, image) keeps equal texts of two kinds apart."""
    return hmac.new(key, f"{kind}|{text}".encode(), hashlib.sha256).hexdigest()[:12]


def _format(row: Row) -> list[str]:
    record = asdict(row)
    record["shape"] = "x".join(map(str, row.shape))
    record["spacing"] = "x".join(f"{length:.6g}" for length in row.spacing)
    record["classes"], record["qc"] = ";".join(row.classes), ";".join(row.qc)
    return list(record.values())


def _parse(path: Path, cells: list[str]) -> Row:
    if not len(COLUMNS) - 1 <= len(cells) <= len(COLUMNS):
        raise InputError(f"{path} has a row of {len(cells)} cells, but {len(COLUMNS)} columns: {cells[0]}")
    name, image, label, classes, patient, study, series, modality, shape, spacing, split, source, qc, *looked = cells
    of_whom = (_words(classes), patient, study, series, sys.intern(modality))
    where = (_whole(shape), _mm(spacing), _part(split), source, _words(qc))
    return Row(name, image, label, *of_whom, *where, sys.intern(looked[0]) if looked else "")


@lru_cache(maxsize=2**12)  # few are different
def _words(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(";") if part)


@lru_cache(maxsize=2**12)
def _whole(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split("x") if size)


@lru_cache(maxsize=2**12)
def _mm(text: str) -> tuple[float, ...]:
    return tuple(float(length) for length in text.split("x") if length)


@lru_cache(maxsize=2**12)
def _part(text: str) -> str:
    return part_name(text, "column 'split' of the manifest")


def _companion(path: Path, suffix: str) -> Path:
    companion = path.with_suffix(suffix)
    if not companion.is_file():
        raise InputError(f"{companion} is missing: it belongs beside {path.name}, so copy both, or scan again")
    return companion


def _root(path: Path, root: str) -> Path:
    found = (path.parent / root).resolve()
    if not found.is_dir():
        raise InputError(f"the folder of the images, {found}, is gone: put it back, or scan its new place")
    return found
