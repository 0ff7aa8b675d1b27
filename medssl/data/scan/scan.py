"""Find the images in folders: one row of the manifest per image, and a reason for every other file."""

from __future__ import annotations

import errno
import os
import warnings
from collections import Counter
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

from medssl import __version__
from medssl.data import manifest
from medssl.data.files import writable, write_csv
from medssl.data.parallel.workers import count
from medssl.data.scan import candidate, files, marks, notes, pairing, parts, patients
from medssl.data.scan.identity import Identity
from medssl.data.scan.notes import SkippedFile
from medssl.data.structures import attach
from medssl.types import InputError

P = ParamSpec("P")

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.data.manifest import Manifest, Row
    from medssl.data.read.dicom import Refused
    from medssl.data.scan.pairing import Image, Sources

    Progress = Callable[[str, int, int], None]

SHOWN = 3
COMPANIONS = (".csv", ".json", ".files.jsonl", ".key", ".table.csv", ".rejected.csv")


class ScanResult(NamedTuple):
    """What a scan found."""

    rows: list[Row]
    rejected: list[SkippedFile]
    notices: list[str]
    manifest: Manifest


def _silent(scanning: Callable[P, ScanResult]) -> Callable[P, ScanResult]:
    """Without the warnings of pydicom and Pillow about every odd value in every file."""

    @wraps(scanning)
    def silently(*given: P.args, **named: P.kwargs) -> ScanResult:
        with warnings.catch_warnings(action="ignore"):
            return scanning(*given, **named)

    return silently


@_silent
def scan(
    folders: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    pairs: Sequence[str] = (),
    table: Path | None = None,
    id_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    boxes: Path | None = None,
    boxes_as: str | None = None,
    patient_from: str | None = None,
    modality: str | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    largest_block: bool = False,
    structures: Mapping[str, int] | None = None,
    frames: str | None = None,
    key: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ScanResult:
    """Scan `folders` into `out`; see `medssl.api_data.ScanOptions`. Raises `InputError` with nothing written."""
    out, folders = _checked_out(Path(out)), [Path(os.path.abspath(folder)) for folder in folders]
    given, wanted = pairing.sources(labels, pairs, table, id_column, columns), patients.pattern(patient_from)
    boxed = marks.given(boxes, boxes_as)
    images, refused, of_structures = _find(folders, out, given, structures, progress, largest_block, workers, frames)
    found, of_boxes = marks.of_images(images, boxed)
    root, sources = _sources(images, [*folders, *_label_folders(labels)])
    who = patients.assign(images, sources, wanted)
    splits, said = parts.divide(images, sources, who.names, split, seed)
    identity = Identity(manifest.read_key(key, out), root, modality)
    rows = [replace(row, looked=one.looked) for row, one in zip(identity.rows(images, who, splits), found, strict=True)]
    notices = [*patients.sentences(who, sources, images), *notes.about(images, given, refused)]
    notices += [*of_boxes, *of_structures, *said, *notes.of_rows(rows)]
    rejected = notes.rejected([SkippedFile(files.printable(identity.relative(p)), *why) for p, *why in sorted(refused)])
    marks.write(out.with_name("boxes.csv"), [row.id for row in rows], found)
    return ScanResult(rows, rejected, notices, _write(out, identity, rows, images, rejected, given, refused, key))


def _sources(images: Sequence[Image], folders: Sequence[Path]) -> tuple[Path, list[str]]:
    """The root, and the path of each image relative to it."""
    root = files.root_of(folders)
    return root, [files.relative(image.candidate.source, root) for image in images]


def _about(refused: Sequence[Refused], key: Path | None, out: Path) -> dict[str, Any]:
    """What is noted beside the manifest: how many files were skipped, by reason, and where the key lies."""
    left_out = dict(Counter(reason for _, reason, _ in refused).most_common())
    return {"left_out": left_out, **({} if key is None else {"key": os.path.relpath(key, out.parent)})}


def _find(
    folders: Sequence[Path],
    out: Path,
    given: Sources,
    structures: Mapping[str, int] | None,
    progress: Progress | None,
    largest_block: bool,
    workers: int | None,
    frames: str | None,
) -> tuple[list[Image], list[Refused], list[str]]:
    """The images with their labels, what cannot be used, and notices about masks in DICOM files."""
    skip = {out.with_suffix(end) for end in COMPANIONS} | {out.with_name("rejected.csv"), out.with_name("boxes.csv")}
    paths, closed = files.walk(folders, skip)
    named = {path for path in paths if given.is_label(path)}
    pool = count(workers)
    rest = [path for path in paths if path not in named]
    found, refused = candidate.candidates(rest, progress, largest_block, pool, frames)
    seen = list(candidate.look(found, progress, pool))
    images, unfit, used = pairing.pair([one for one in seen if one.look is not None], given)
    everything = named.union(*(same for place in given.folders for same in place.files.values()))
    unused = [(path, "label without image", "") for path in sorted(everything) if path.resolve() not in used]
    broken = [entry for one in seen for entry in one.refused]
    images.sort(key=lambda image: image.candidate.files[0].as_posix())
    left = [*closed, *refused, *broken, *unfit, *unused]
    if not images:
        raise InputError(_nothing(folders, left))
    return attach.attach(images, left, structures)


def _write(
    out: Path,
    identity: Identity,
    rows: Sequence[Row],
    images: Sequence[Image],
    rejected: Sequence[SkippedFile],
    given: Sources,
    refused: Sequence[Refused],
    key: Path | None,
) -> Manifest:
    entries: dict[str, dict[str, Any]] = {
        row.id: {
            "files": [identity.relative(path) for path in image.candidate.files],
            "frames": image.candidate.frames,
            **({"description": image.candidate.description} if image.candidate.description else {}),
            **({"structures": image.structures} if image.structures else {}),
        }
        for row, image in zip(rows, images, strict=True)
    }
    if given.table:
        _write_table(out, rows, images, given.table.further)
    facts = {"medssl": __version__, "images": len(rows), **_about(refused, key, out)}
    return manifest.write(out, rows, identity.root, entries, rejected, facts)


def _write_table(out: Path, rows: Sequence[Row], images: Sequence[Image], further: Sequence[str]) -> None:
    """Write further columns of the table by id."""
    known = [(row.id, image.record) for row, image in zip(rows, images, strict=True) if image.record is not None]
    lines = [[case, *(record.further[name] for name in further)] for case, record in known]
    write_csv(out.with_suffix(".table.csv"), ["id", *further], lines)


def _checked_out(out: Path) -> Path:
    if out.suffix != ".csv":
        raise InputError(f"--out {out} must end in .csv: the other files of the manifest are named after it")
    with writable(f"--out {out}", advice="choose a file in a folder that you may write to"):
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(out.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    manifest.refuse_foreign(out)
    return Path(os.path.abspath(out))


def _label_folders(labels: Path | None) -> list[Path]:
    return [Path(os.path.abspath(labels))] if labels else []


def _nothing(folders: Sequence[Path], refused: Sequence[Refused]) -> str:
    reasons = Counter(reason for _, reason, _ in refused).most_common(SHOWN)
    told = ", ".join(f"{count} x {reason}" for reason, count in reasons)
    safe = [f"{why} ({more})" for path, why, more in sorted(refused) if more and path.stem not in more]  # no file names
    first = "".join(f"; such as {text}" for text in safe[:1])
    return f"no image found in {', '.join(map(str, folders))}: {len(refused)} files were skipped ({told}{first})"
