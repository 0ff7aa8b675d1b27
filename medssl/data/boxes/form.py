"""What every format of boxes is read into. Voxels are in index order, (row, column) or (z, y, x); boxes half-open."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Mark(NamedTuple):
    """A box of an image as stored."""

    label: str
    start: tuple[float, ...]
    stop: tuple[float, ...]
    reader: str = ""  # who drew it
    ignore: bool = False  # neither asked for nor held against what finds it
    diameter_mm: float | None = None  # of a point, around which the box lies


class Point(NamedTuple):
    """A ball in mm, in the patient's coordinates toward Left, Posterior, Superior, as DICOM counts them."""

    label: str
    centre_lps: tuple[float, float, float]
    diameter_mm: float
    ignore: bool = False


class Marks(NamedTuple):
    """A file of boxes or points, by the name of the image, its ending left out."""

    by_image: Mapping[str, Sequence[Mark | Point]]
    searched: frozenset[str]  # images that were looked at without a finding
    notices: tuple[str, ...] = ()


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file. Raises `InputError` for what is no text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--boxes {path} cannot be read as text: give a CSV or JSON file") from error
    return list(csv.DictReader(io.StringIO(text, newline="")))


def head(path: Path) -> list[str]:
    """The first cells of a CSV file; empty for what is none."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return next(csv.reader(stream), [])


def corner(path: Path, image: str, *texts: str) -> tuple[float, ...]:
    """Numbers of a row. Raises `InputError` naming the image."""
    try:
        return tuple(float(text) for text in texts)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a box of {image} is {', '.join(map(str, texts))}, which are no numbers") from error


def of_sides(sides: Sequence[float], label: str, *, ignore: bool = False) -> Mark:
    """A box given as x, y, width, height: the column and row of its first corner, and its sides."""
    x, y, width, height = sides
    return Mark(label, (y, x), (y + height, x + width), ignore=ignore)
