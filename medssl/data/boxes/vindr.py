"""VinDr-CXR, train.csv: one row per box and reader, three readers per image; `No finding` if a reader saw nothing.

If two readers agree (same class, IoU of at least .4), the mean of their boxes is used. An image in which all readers
found nothing is a negative; one in which no two agree is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from medssl.data.boxes import form
from medssl.data.boxes.form import Mark, Marks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOTHING = "No finding"
READERS = 2  # number of readers that must agree
AGREE = 0.4  # IoU


def fits(path: Path) -> bool:
    """Whether a file has this format."""
    return {"image_id", "class_name", "rad_id", "x_min"} <= set(form.head(path))


def read(path: Path, readers: int = READERS) -> Marks:
    """The boxes of each image on which `readers` readers agree."""
    drawn: dict[str, list[Mark]] = defaultdict(list)
    clear = set()
    for row in form.table(path):
        name = row["image_id"]
        if row["class_name"] == NOTHING:
            clear.add(name)
            continue
        x, y, right, low = form.corner(path, name, *(row[key] for key in ("x_min", "y_min", "x_max", "y_max")))
        drawn[name].append(Mark(row["class_name"], (y, x), (low, right), row["rad_id"]))
    found = {name: agreed(boxes, readers) for name, boxes in drawn.items()}
    unsure = sum(not boxes for boxes in found.values())
    said = (
        (f"{unsure} images have boxes, but none on which {readers} readers agree: they count as unknown",)
        if unsure
        else ()
    )
    return Marks({name: boxes for name, boxes in found.items() if boxes}, frozenset(clear - set(drawn)), said)


def agreed(boxes: Sequence[Mark], readers: int) -> list[Mark]:
    """The means of groups of boxes of one class from at least `readers` different readers; each box is in one group."""
    left, found = list(boxes), []
    while left:
        first = left.pop(0)
        group = [first]
        for other in list(left):
            if other.label == first.label and other.reader not in {one.reader for one in group}:
                if _iou(first, other) >= AGREE:
                    group.append(other)
                    left.remove(other)
        if len(group) >= readers:
            start, stop = (np.mean([getattr(one, side) for one in group], 0).tolist() for side in ("start", "stop"))
            found.append(Mark(first.label, tuple(start), tuple(stop), ";".join(one.reader for one in group)))
    return found


def _iou(one: Mark, other: Mark) -> float:
    sides = np.minimum(one.stop, other.stop) - np.maximum(one.start, other.start)
    shared = float(np.maximum(sides, 0).prod())
    sizes = [float(np.subtract(box.stop, box.start).prod()) for box in (one, other)]
    return shared / (sum(sizes) - shared) if sum(sizes) > shared else 0.0
