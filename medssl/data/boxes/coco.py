"""COCO JSON: `bbox` is x, y, width, height in pixels; crowds are marked as ignored; 2D only.

All listed images count as searched. Segmentations are not read: masks are label files (`--labels`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from medssl.data.boxes import form
from medssl.data.boxes.form import Mark, Marks
from medssl.data.split import stem_of
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path


def fits(path: Path) -> bool:
    """Whether a file has this format."""
    return path.suffix.lower() == ".json" and path.is_file()


def read(path: Path) -> Marks:
    """The boxes of each image. Raises `InputError` for JSON of another form."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: _stem(str(image["file_name"])) for image in content["images"]}
        classes = {category["id"]: str(category["name"]) for category in content.get("categories", [])}
        found: dict[str, list[Mark]] = defaultdict(list)
        for one in content["annotations"]:
            sides = form.corner(path, names[one["image_id"]], *one["bbox"])
            label, crowd = classes.get(one["category_id"], str(one["category_id"])), bool(one.get("iscrowd", 0))
            found[names[one["image_id"]]].append(form.of_sides(sides, label, ignore=crowd))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--boxes {path} is not a COCO file (images, annotations with image_id, category_id and bbox): {error}"
        ) from error
    return Marks(found, frozenset(names.values()) - set(found))


def _stem(file: str) -> str:
    return stem_of(file.replace("\\", "/").split("/")[-1])
