"""NIH ChestX-ray14, BBox_List_2017.csv: one row per box, in pixels of the 1024 x 1024 image.

Its header has stray brackets, so columns are read by position. Images that are not listed are unknown, not negative.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from medssl.data.boxes import form
from medssl.data.boxes.form import Mark, Marks
from medssl.data.split import stem_of

if TYPE_CHECKING:
    from pathlib import Path

RENAMED = {"Infiltrate": "Infiltration"}  # the name in the image labels


def fits(path: Path) -> bool:
    """Whether a file has this format."""
    return form.head(path)[:2] == ["Image Index", "Finding Label"] and "ox" in "".join(form.head(path)[2:3])


def read(path: Path) -> Marks:
    """The boxes of each image."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for row in form.lines(path)[1:]:
        if len(row) >= 6:
            sides = form.corner(path, row[0], *row[2:6])
            found[stem_of(row[0])].append(form.of_sides(sides, RENAMED.get(row[1], row[1])))
    return Marks(found, frozenset())
