"""Give each image its label and its row of the table."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.read import reader
from medssl.data.reject import Rejected, rejecting
from medssl.data.scan import labels, qc, table
from medssl.data.scan.names import folder_of
from medssl.data.split import stem_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from medssl.data.read.dicom import Refused
    from medssl.data.scan.candidate import Candidate, ReadResult
    from medssl.data.scan.qc import ImageInfo
    from medssl.data.scan.table import Record, Table


THREADS = 4  # labels in memory at once
MASK_FOLDER = re.compile(
    r"(.*[_.\- ])?(segs?|segmentations?|masks?|labels?|labelst[rs]|derivatives)([_.\- ].*)?", re.IGNORECASE
)


class Sources(NamedTuple):
    """The sources of labels and of facts about images."""

    folders: list[labels.Folder]
    patterns: list[labels.Pattern]
    table: Table | None
    named: frozenset[Path]  # the label files of folders and table, resolved

    @property
    def give_labels(self) -> bool:
        """Whether an option says which files are labels."""
        return bool(self.patterns or self.named)

    def is_label(self, path: Path) -> bool:
        """Whether a file is a label, and so never an image."""
        return (bool(self.named) and path.resolve() in self.named) or labels.is_label(path, self.patterns)


class Image(NamedTuple):
    """One image of the manifest."""

    candidate: Candidate
    look: ImageInfo
    label: Path | None
    record: Record | None
    values: tuple[int, ...] = ()  # the label's values, if they are few
    structures: dict[str, int] | None = None  # of a label from DICOM: name -> class number
    lost: bool = False  # a label matches, but it matches others of the same name too


def sources(
    folder: Path | None,
    pairs: Sequence[str],
    csv: Path | None,
    id_column: str | None,
    columns: Mapping[str, str] | None,
) -> Sources:
    """Read --labels, --pair and --table. Raises `InputError`."""
    folders = [labels.folder(Path(folder))] if folder else []
    facts = table.read(Path(csv), id_column or "id", columns) if csv else None
    records = [record for same in facts.records.values() for record in same] if facts else []
    named = [path.resolve() for place in folders for same in place.files.values() for path in same]
    named += [record.label for record in records if record.label]
    return Sources(folders, [labels.pattern(text) for text in pairs], facts, frozenset(named))


def pair(seen: Sequence[ReadResult], given: Sources) -> tuple[list[Image], list[Refused], set[Path]]:
    """Give each image its label and record; refuse images with a wrong label, and files that look like masks.

    Returns the images, what was refused, and the label files that match an image (perhaps a refused one).
    """
    images = [_known(one, given, names) for one, names in zip(seen, _names(seen), strict=True)]
    images = _without_ambiguous(images)
    pictures = _pictures(images)
    with ThreadPoolExecutor(THREADS) as pool:
        checked = list(pool.map(lambda image: _checked(image, pictures), images))
    refused = [
        (path, result.reason, result.detail)
        for image, result in zip(images, checked, strict=True)
        if isinstance(result, Rejected)
        for path in image.candidate.files
    ]
    used = {image.label.resolve() for image in images if image.label}
    return [result for result in checked if not isinstance(result, Rejected)], refused, used


def _without_ambiguous(images: Sequence[Image]) -> list[Image]:
    """If one label matches images in several folders, none of them gets it, as the right one cannot be known."""
    places: dict[Path, set[str]] = defaultdict(set)
    for image in images:
        if image.label is not None and not (image.record and image.record.label):
            places[image.label].add(folder_of(image.candidate.source.parent.as_posix()))
    return [
        image._replace(label=None, lost=True) if image.label and len(places[image.label]) > 1 else image
        for image in images
    ]


def _names(seen: Sequence[ReadResult]) -> list[list[str]]:
    """The names of each image: its file name; of a series also its UID, and folders above that hold no other images."""
    under = Counter(folder for one in seen for folder in {one.candidate.source, *one.candidate.source.parents})
    return [
        [
            stem_of(one.candidate.source.name),
            *(folder.name for folder in one.candidate.source.parents if one.candidate.series and under[folder] == 1),
            *([one.candidate.series] if one.candidate.series else []),
        ]
        for one in seen
    ]


def _known(one: ReadResult, given: Sources, names: list[str]) -> Image:
    assert one.look is not None
    source = one.candidate.source
    record = given.table.find([source.as_posix(), *names]) if given.table else None
    label = record.label if record and record.label else labels.find(source, names, given.folders, given.patterns)
    return Image(one.candidate, one.look, label, record)


def _checked(image: Image, pictures: Mapping[Hashable, Sequence[Image]]) -> Image | Rejected:
    """The image with the values of its label; or why the label is wrong, or why the image looks like a mask itself."""
    if image.label is None:
        told = image.record is not None or not image.look.mask_like
        return image if told else (_mask(image, pictures) or image)
    try:
        with rejecting(image.label):
            found = reader.read(image.label, label=True)
    except Rejected as verdict:
        return Rejected(f"its label: {verdict.reason}", f"{image.label.name}: {verdict.detail}")
    shape, grid = found.array.shape[1:], qc.oriented_grid(found.array.shape[1:], found.affine)
    if grid[0] != image.look.grid[0]:
        return Rejected(f"label shape {shape} differs from image {image.look.shape}", image.label.name)
    if len(shape) == 3 and not qc.same_grid(image.look.grid, grid):
        return Rejected("label lies elsewhere than its image", f"{image.label.name}: same shape, different affine")
    return image._replace(values=qc.few_values(found.array))


def _pictures(images: Sequence[Image]) -> dict[Hashable, list[Image]]:
    """The images that are not masks, by shape and by whole name, by each first part of the name, and by folder (3D)."""
    found: dict[Hashable, list[Image]] = {}
    for image in images:
        if not image.look.mask_like:
            *parts, whole = _first_parts(image)
            keys = [
                ("name", whole),
                *(("part", part) for part in [*parts, whole]),
                ("folder", _folder(image)),
                ("any", ""),
            ]
            for key in keys:
                found.setdefault((image.look.grid[0], *key), []).append(image)
    return found


def _mask(image: Image, pictures: Mapping[Hashable, Sequence[Image]]) -> Rejected | None:
    """A mask has a twin: an image on the same grid, one of whose names starts the other, or (3D) in the same folder.

    In a folder of masks any image on the same grid is one.
    """
    *parts, whole = _first_parts(image)
    keys: list[tuple[str, object]] = [("name", part) for part in [*parts, whole]]
    keys += [("part", whole), *([("folder", _folder(image))] if len(image.look.shape) == 3 else [])]
    keys += [("any", "")] if any(MASK_FOLDER.fullmatch(part) for part in _folder(image).parts) else []
    for key in keys:
        for other in pictures.get((image.look.grid[0], *key), ()):
            if qc.same_grid(image.look.grid, other.look.grid):
                twin = other.candidate.source.name
                return Rejected(
                    "looks like a mask",
                    f"few integer values on the grid of {twin}: if it is its label, give --labels or --pair",
                )
    return None


def _first_parts(image: Image) -> list[str]:
    """`case_1_seg` -> case, case_1, case_1_seg."""
    stem = stem_of(image.candidate.source.name)
    return [stem[: cut.start()] for cut in re.finditer(r"(?<=[^_.\-])[_.\-]|$", stem)]


def _folder(image: Image) -> Path:
    return image.candidate.source.parent
