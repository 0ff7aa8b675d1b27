"""The common form of all box formats. Voxels are in index order, (row, column) or (z, y, x); boxes are half-open."""

from __future__ import annotations

import csv
import io
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Mark(NamedTuple):
    """A box in voxels of the stored image."""

    label: str
    start: tuple[float, ...]
    stop: tuple[float, ...]
    reader: str = ""  # who drew it
    ignore: bool = False  # counts neither as missed nor as a false positive if found
    diameter_mm: float | None = None  # of a point, if the box is around one


class Point(NamedTuple):
    """A ball in mm, in patient coordinates toward Left, Posterior, Superior, as in DICOM."""

    label: str
    centre_lps: tuple[float, float, float]
    diameter_mm: float
    ignore: bool = False


class Marks(NamedTuple):
    """The boxes or points of a file, by image name without its ending."""

    by_image: Mapping[str, Sequence[Mark | Point]]
    searched: frozenset[str]  # images that were searched and have no finding
    notices: tuple[str, ...] = ()


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column. Raises `InputError` if it is not one."""
    heads, *rows = lines(path) or [[]]
    return [dict(zip_longest(heads, row[: len(heads)], fillvalue="")) for row in rows if row]


def lines(path: Path) -> list[list[str]]:
    """The lines of a CSV file, its header among them. Raises `InputError` if it is not one."""
    try:
        return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--boxes {path} cannot be read as text: give a CSV or JSON file") from error


def head(path: Path) -> list[str]:
    """The header of a CSV file; empty if it is not one."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return next(csv.reader(stream), [])


def corner(path: Path, image: str, *texts: str) -> tuple[float, ...]:
    """The numbers of a row. Raises `InputError` with the name of the image."""
    try:
        return tuple(float(text) for text in texts)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a box of {image} is {', '.join(map(str, texts))}, which are not numbers") from error


def of_sides(sides: Sequence[float], label: str, *, ignore: bool = False) -> Mark:
    """A box from x, y, width, height: column and row of its first corner, and its sides."""
    x, y, width, height = sides
    return Mark(label, (y, x), (y + height, x + width), ignore=ignore)
