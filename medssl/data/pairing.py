"""Images with what is known about them: label, table record."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medssl.data import labels, qc, reader, table
from medssl.data.candidate import THREADS
from medssl.data.reject import Rejected
from medssl.data.split import stem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.data.candidate import Candidate, Seen
    from medssl.data.dicom import Refused
    from medssl.data.qc import Look
    from medssl.data.table import Record, Table


class Sources(NamedTuple):
    """Where labels and facts come from."""

    folders: list[labels.Folder]
    patterns: list[labels.Pattern]
    table: Table | None

    @property
    def give_labels(self) -> bool:
        """Whether the user said which files are labels."""
        return bool(self.folders or self.patterns or self.table_labels)

    @property
    def table_labels(self) -> set[Path]:
        """The label files that the table names."""
        records = [record for same in self.table.records.values() for record in same] if self.table else []
        return {record.label for record in records if record.label}

    def is_label(self, path: Path) -> bool:
        """Whether a file is named as a label, and so never an image."""
        inside = any(path in folder.files.values() for folder in self.folders)
        return inside or labels.is_label(path, self.patterns) or path.resolve() in self.table_labels


class Image(NamedTuple):
    """One image of the manifest."""

    candidate: Candidate
    look: Look
    label: Path | None
    record: Record | None


def sources(
    folder: Path | None,
    pairs: Sequence[str],
    csv: Path | None,
    id_column: str | None,
    columns: Mapping[str, str] | None,
) -> Sources:
    """The sources behind --labels, --pair and --table. Raises `InputError` where one is wrong."""
    return Sources(
        folders=[labels.folder(Path(folder))] if folder else [],
        patterns=[labels.pattern(text) for text in pairs],
        table=table.read(Path(csv), id_column or "id", columns) if csv else None,
    )


def pair(seen: Sequence[Seen], given: Sources) -> tuple[list[Image], list[Refused]]:
    """Give each image its label and record; refuse images whose label does not fit, and files that look like masks."""
    images = [_known(one, given, names) for one, names in zip(seen, _names(seen), strict=True)]
    shapes = _pictures(images)
    with ThreadPoolExecutor(THREADS) as pool:
        wrong = list(pool.map(lambda image: _problem(image, shapes), images))
    refused = [
        (path, problem.reason, problem.detail)
        for image, problem in zip(images, wrong, strict=True)
        if problem is not None
        for path in image.candidate.files
    ]
    return [image for image, problem in zip(images, wrong, strict=True) if problem is None], refused


def _names(seen: Sequence[Seen]) -> list[list[str]]:
    """What each image may be called: its stem; a series also its UID, and folders above without other images."""
    under = Counter(folder for one in seen for folder in {one.candidate.source, *one.candidate.source.parents})
    return [
        [
            stem_of(one.candidate.source.name),
            *(folder.name for folder in one.candidate.source.parents if one.candidate.series and under[folder] == 1),
            *([one.candidate.series] if one.candidate.series else []),
        ]
        for one in seen
    ]


def _known(one: Seen, given: Sources, names: list[str]) -> Image:
    assert one.look is not None
    source = one.candidate.source
    record = given.table.find([source.as_posix(), *names]) if given.table else None
    label = record.label if record and record.label else labels.find(source, names, given.folders, given.patterns)
    return Image(one.candidate, one.look, label, record)


def _problem(image: Image, pictures: Mapping[tuple[int, ...], Sequence[Image]]) -> Rejected | None:
    """What is wrong with the label of an image, or with an image that may be a label itself."""
    if image.label is None:
        told = image.record is not None or not image.look.mask_like
        return None if told else _mask(image, pictures.get(image.look.grid[0], ()))
    try:
        found = reader.read(image.label, label=True)
    except Rejected as verdict:
        return Rejected(f"its label: {verdict.reason}", f"{image.label.name}: {verdict.detail}")
    shape, grid = found.array.shape[1:], qc.oriented_grid(found.array.shape[1:], found.affine)
    if grid[0] != image.look.grid[0]:
        return Rejected(f"label shape {shape} differs from image {image.look.shape}", image.label.name)
    if len(shape) == 3 and not qc.same_grid(image.look.grid, grid):
        return Rejected("label lies elsewhere than its image", f"{image.label.name}: same shape, other affine")
    return None


def _pictures(images: Sequence[Image]) -> dict[tuple[int, ...], list[Image]]:
    """The images that are no masks, by shape."""
    by_shape: dict[tuple[int, ...], list[Image]] = {}
    for image in images:
        if not image.look.mask_like:
            by_shape.setdefault(image.look.grid[0], []).append(image)
    return by_shape


def _mask(image: Image, others: Sequence[Image]) -> Rejected | None:
    """A mask has a twin: an image on the same grid with a related name, or (3D) in the same folder."""
    for other in others:
        near = len(image.look.shape) == 3 and image.candidate.source.parent == other.candidate.source.parent
        if (near or _related(image, other)) and qc.same_grid(image.look.grid, other.look.grid):
            detail = f"few whole numbers on the grid of {other.candidate.source.name}; pair it with --labels or --pair"
            return Rejected("looks like a mask", detail)
    return None


def _related(image: Image, other: Image) -> bool:
    one, two = stem_of(image.candidate.source.name), stem_of(other.candidate.source.name)
    return one.startswith(two) or two.startswith(one)
