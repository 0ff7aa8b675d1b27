"""LUNA16, annotations.csv: one nodule per row, with centre in mm toward Left, Posterior, Superior, and diameter.

Findings of annotations_excluded.csv beside it are ignored; a diameter below 0 means unknown and counts as 10 mm.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from medssl.data.boxes import form
from medssl.data.boxes.form import Marks, Point

if TYPE_CHECKING:
    from pathlib import Path

CLASS = "nodule"
EXCLUDED = "annotations_excluded.csv"
UNKNOWN_MM = 10.0


def fits(path: Path) -> bool:
    """Whether a file has this format."""
    return {"seriesuid", "coordX", "coordY", "coordZ"} <= set(form.head(path))


def read(path: Path) -> Marks:
    """The nodules of each series."""
    found: dict[str, list[Point]] = defaultdict(list)
    files = [path] + [beside for beside in [path.with_name(EXCLUDED)] if beside.is_file() and beside != path]
    for file in files:
        for row in form.table(file):
            name = row["seriesuid"]
            x, y, z, mm = form.corner(file, name, *(row[key] for key in ("coordX", "coordY", "coordZ", "diameter_mm")))
            found[name].append(Point(CLASS, (x, y, z), mm if mm > 0 else UNKNOWN_MM, file.name == EXCLUDED))
    return Marks(found, frozenset())
