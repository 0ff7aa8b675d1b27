"""Files that may be images. Every image is read from end to end before it is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from medssl.data.parallel.workers import mapped
from medssl.data.read import dicom, reader
from medssl.data.read.dicom_header import STACKED
from medssl.data.reject import Rejected, rejecting
from medssl.data.scan import description, qc, times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from medssl.data.read.dicom import Refused, Series
    from medssl.data.scan.qc import ImageInfo


class Candidate(NamedTuple):
    """The files of one possible image; patient, study and series come from DICOM headers and are empty otherwise."""

    files: list[Path]
    source: Path  # the file, or the folder of a series
    frames: list[tuple[int, int]] | None = None
    patient: str = ""
    study: str = ""
    series: str = ""
    part: int = 0  # number within the series
    description: str = ""  # of the series: its protocol words alone
    notes: tuple[str, ...] = ()


class ReadResult(NamedTuple):
    """A candidate after reading: facts about the image, or None; and the files that were skipped, with the reason."""

    candidate: Candidate
    look: ImageInfo | None
    refused: list[Refused]


def candidates(
    files: Sequence[Path],
    progress: Callable[[str, int, int], None] | None,
    largest_block: bool = False,
    workers: int = 1,
    times_of: str | None = None,
) -> tuple[list[Candidate], list[Refused]]:
    """Group files into candidates; files that cannot be an image are refused."""
    kinds = {path: _kind(path) for path in files}
    found, paired = [], _pairs(kinds)
    halves = set(paired.values())
    refused = [(path, "cannot be read", "no permission, or a broken link") for path in files if not kinds[path]]
    for path, kind in kinds.items():
        if kind not in ("", "dicom") and path not in halves:
            found.append(Candidate([path, paired[path]] if path in paired else [path], path))
    headers = [path for path in files if kinds[path] == "dicom"]
    series, others = dicom.group(headers, progress, largest_block, workers)
    found = [one._replace(**part._asdict()) for one in found for part in times.parts(one.files[0], times_of)]
    return found + [_of(item) for item in series], refused + others


def look(
    found: Sequence[Candidate], progress: Callable[[str, int, int], None] | None, workers: int = 1
) -> Iterator[ReadResult]:
    """Read every candidate, in order; a broken file is left out, and its image too if incomplete without it."""
    for number, seen in enumerate(mapped(_look, found, workers)):
        if progress:
            progress("images", number + 1, len(found))
        yield seen


def read(candidate: Candidate) -> qc.ImageInfo:
    """Read and check one candidate. Raises `Rejected` whatever goes wrong, so that a bad file never stops the scan."""
    with rejecting(candidate.files[0]):
        return qc.look(reader.of(candidate.files, candidate.frames))


def _kind(path: Path) -> str:
    try:
        return reader.kind(path)
    except OSError:
        return ""


def _pairs(kinds: dict[Path, str]) -> dict[Path, Path]:
    """Header file -> voxel file of Analyze and NIfTI pairs."""
    headers = [path for path, kind in kinds.items() if kind == "nifti" and path.name.lower().endswith(".hdr")]
    both = {path: path.with_suffix(end) for path in headers for end in (".img.gz", ".IMG", ".img")}
    return {header: voxels for header, voxels in both.items() if kinds.get(voxels) == "nifti"}


def _of(item: Series) -> Candidate:
    first = item.slices[0]
    alone = first.modality not in STACKED
    notes = {
        "burned-in text": first.burned_in,
        f"one of {item.parts} volumes of its series": item.parts > 1 and not alone,
    }
    return Candidate(
        files=item.files,
        source=first.path if alone or len(item.files) == 1 else first.path.parent,
        frames=item.frames,
        patient=first.patient,
        study=first.study,
        series=first.series,
        part=item.part,
        description=description.safe(first.description),
        notes=tuple(note for note, applies in notes.items() if applies),
    )


def _look(candidate: Candidate) -> ReadResult:
    try:
        return ReadResult(candidate, read(candidate), [])
    except Rejected as verdict:
        if len(candidate.files) == 1 or candidate.frames is not None:
            return ReadResult(candidate, None, [(path, verdict.reason, verdict.detail) for path in candidate.files])
    return _without_broken(candidate)


def _without_broken(candidate: Candidate) -> ReadResult:
    broken = [refused for path in candidate.files if (refused := dicom.broken(path)) is not None]
    lost = {path for path, _, _ in broken}
    rest = candidate._replace(
        files=[path for path in candidate.files if path not in lost],
        notes=(*candidate.notes, *([f"{len(lost)} files lost"] if lost else [])),
    )
    if not rest.files:
        return ReadResult(rest, None, broken)
    try:
        return ReadResult(rest, read(rest), broken)
    except Rejected as verdict:
        return ReadResult(rest, None, broken + [(path, verdict.reason, verdict.detail) for path in rest.files])
