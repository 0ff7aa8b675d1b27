"""pretrain_data.json of nnssl: datasets of subjects of sessions of images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VARIABLE = re.compile(r"^\$\{?\w+\}?/")  # a path may begin with the name of a variable for the folder of raw data


def fits(content: Mapping[str, Any]) -> bool:
    """Whether the content of a JSON file is such a collection."""
    return isinstance(content.get("datasets"), dict)


def rows(path: Path, content: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per image, with its subject (of its dataset) as the patient, and its modality."""
    found = []
    for dataset, one in content["datasets"].items():
        for subject, person in one.get("subjects", {}).items():
            for image in _images(person):
                name = VARIABLE.sub("", image["image_path"])
                kind = str(image.get("modality") or "")
                found.append({"id": name, "patient": f"{dataset}/{subject}", "modality": kind})
    return found


def _images(person: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for session in person.get("sessions", {}).values():
        yield from session.get("images", [])
