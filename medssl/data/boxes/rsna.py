"""RSNA Pneumonia Detection Challenge 2018, stage_2_train_labels.csv: several rows per image, boxes in its pixels.

Target 0 means that the image was searched and has no opacity.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from medssl.data.boxes import form
from medssl.data.boxes.form import Mark, Marks

if TYPE_CHECKING:
    from pathlib import Path

CLASS = "opacity"


def fits(path: Path) -> bool:
    """Whether a file has this format."""
    return {"patientId", "Target"} <= set(form.head(path))


def read(path: Path) -> Marks:
    """The boxes of each image."""
    found: dict[str, list[Mark]] = defaultdict(list)
    searched = set()
    for row in form.table(path):
        name = row["patientId"]
        if row["Target"].strip() == "1":
            sides = form.corner(path, name, row["x"], row["y"], row["width"], row["height"])
            found[name].append(form.of_sides(sides, CLASS))
        else:
            searched.add(name)
    return Marks(found, frozenset(searched - set(found)))
