"""dataset.json of the Medical Segmentation Decathlon, which MONAI's examples use too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARTS = {"training": "train", "validation": "val", "test": "test"}


def fits(content: Mapping[str, Any]) -> bool:
    """Whether the content of a JSON file is such a list."""
    return isinstance(content.get("training"), list)


def rows(path: Path, content: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per image, with label and split; the modality if there is one for all.

    Without a list `validation`, the images for training have no split, so that `--split` is free to part them.
    """
    kinds = set((content.get("modality") or {}).values())
    modality = kinds.pop() if len(kinds) == 1 else ""
    found = []
    for part, split in PARTS.items():
        for entry in content.get(part) or []:
            one = entry if isinstance(entry, dict) else {"image": entry}
            own = "" if split == "train" and not content.get("validation") else split
            found.append({"id": one["image"], "label": one.get("label") or "", "split": own, "modality": modality})
    return found
