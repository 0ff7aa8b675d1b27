"""Boxes of the images of a scan: from the user's table, or from a file in a public format (see `medssl.data.boxes`)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from medssl.data.boxes import reading
from medssl.data.boxes.form import Mark, Marks, Point
from medssl.data.files import write_csv
from medssl.data.read import reader
from medssl.data.split import stem_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np

    from medssl.data.scan.pairing import Image

COLUMNS = ["id", "class", "start", "stop", "reader", "ignore", "diameter_mm"]
MASK, BOXES, NOTHING = "mask", "boxes", "none"  # how an image was searched for lesions; empty: not known


class Found(NamedTuple):
    """The boxes of one image, in voxels as stored, and how it was searched."""

    boxes: tuple[Mark, ...]
    looked: str


def of_images(images: Sequence[Image], file: Path | None, format_: str | None) -> tuple[list[Found], list[str]]:
    """What is known of each image, and notices. Raises `InputError` for boxes of other images, or outside theirs."""
    if format_ is not None and file is None:
        raise InputError(f"--boxes-as {format_} says how --boxes is to be read, but there is no --boxes")
    if file is None:
        return [_own(image, None, set()) for image in images], []
    marks, format_ = reading.read(file, format_)
    stems = Counter(name for image in images for name in _names(image))
    used: set[str] = set()
    found = [_own(image, marks, used, {name for name in _names(image) if stems[name] > 1}) for image in images]
    listed = set(marks.by_image) | marks.searched
    if not used:
        example = f", such as {min(listed)}," if listed else ""
        raise InputError(f"--boxes {file} lists {len(listed)} images{example} and none of them was scanned")
    boxed, clear = (sum(one.looked == how for one in found) for how in (BOXES, NOTHING))
    said = (
        f"{file.name} was read as {format_}: {boxed} of {len(images)} images have boxes, {clear} are known to have none"
    )
    left = len(listed - used)
    return found, [said + (f", {left} that it lists were not scanned" if left else ""), *marks.notices]


def write(path: Path, ids: Sequence[str], found: Sequence[Found]) -> None:
    """Write boxes.csv, if there are boxes."""
    lines = [
        [name, box.label, _joined(box.start), _joined(box.stop), box.reader, "1" if box.ignore else "", _mm(box)]
        for name, one in zip(ids, found, strict=True)
        for box in one.boxes
    ]
    if lines:
        write_csv(path, COLUMNS, lines)


def _own(image: Image, marks: Marks | None, used: set[str], ambiguous: Iterable[str] = ()) -> Found:
    record = image.record
    boxes: Sequence[Mark | Point] = record.boxes if record else ()
    searched = bool(record and record.searched)
    for name in _names(image) if marks is not None and not boxes else ():
        assert marks is not None
        if name in marks.by_image or name in marks.searched:
            if name in ambiguous:
                raise InputError(f"--boxes lists {name}, which is the name of several images: give them other names")
            used.add(name)
            boxes, searched = marks.by_image.get(name, ()), name in marks.searched
            break
    affine = _affine(image) if any(isinstance(box, Point) for box in boxes) else None
    placed = reading.placed(boxes, image.look.shape, affine, image.candidate.source.name)
    looked = BOXES if placed else NOTHING if searched else MASK if image.label else ""
    return Found(tuple(placed), looked)


def _names(image: Image) -> list[str]:
    """What a list of boxes may call an image: its stem, or the UID of its series."""
    series = image.candidate.series
    return list(dict.fromkeys([stem_of(image.candidate.source.name), *([series] if series else [])]))


def _affine(image: Image) -> np.ndarray:
    return reader.frames(image.candidate.files, image.candidate.frames).affine


def _joined(corner: Sequence[float]) -> str:
    return "x".join(f"{value:.6g}" for value in corner)


def _mm(box: Mark) -> str:
    return "" if box.diameter_mm is None else f"{box.diameter_mm:.6g}"
