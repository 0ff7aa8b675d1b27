"""nnDetection's labelsTr: for each case an instance volume CASE.nii.gz, and CASE.json with the class of each instance.

The boxes are those around the instances. `--labels labelsTr` with task.truth=instances uses their masks instead, as one
class.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medssl.data.boxes.form import Mark, Marks
from medssl.data.read import reader
from medssl.data.reject import Rejected
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path


def fits(path: Path) -> bool:
    """Whether a folder has this format."""
    return path.is_dir() and any(path.glob("*.json"))


def read(path: Path) -> Marks:
    """The boxes of each case. Raises `InputError` if a volume is missing or an instance has no class."""
    names, found = _classes(path.parent / "dataset.json"), {}
    for file in sorted(path.glob("*.json")):
        volume = file.with_name(f"{file.stem}.nii.gz")
        try:
            instances = json.loads(file.read_text(encoding="utf-8"))["instances"]
            label = reader.read(volume, label=True).array[0]
        except (Rejected, ValueError, KeyError, OSError) as error:
            raise InputError(f"{file.name} in --boxes {path} cannot be read with its {volume.name}: {error}") from error
        found[file.stem] = [
            Mark(_name(instances, number, names, file), *_corners(box))
            for number, box in enumerate(ndimage.find_objects(np.asarray(label).astype(np.int64)), 1)
            if box is not None
        ]
    clear = frozenset(name for name, boxes in found.items() if not boxes)
    return Marks({name: boxes for name, boxes in found.items() if boxes}, clear)


def _classes(dataset: Path) -> dict[str, str]:
    """Names of class numbers, if dataset.json has them."""
    if not dataset.is_file():
        return {}
    try:
        labels = json.loads(dataset.read_text(encoding="utf-8")).get("labels", {})
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{dataset.name} beside --boxes cannot be read: {error}") from error
    return {str(number): str(name) for number, name in labels.items()} if isinstance(labels, dict) else {}


def _name(instances: dict[str, int], number: int, names: dict[str, str], file: Path) -> str:
    if str(number) not in instances:
        raise InputError(f"{file} gives no class for instance {number}, which its volume has: add it to `instances`")
    of = str(instances[str(number)])
    return names.get(of, of)


def _corners(box: tuple[slice, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(part.start) for part in box), tuple(float(part.stop) for part in box)
