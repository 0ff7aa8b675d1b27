"""dataset.json of nnU-Net (version 2), with the first fold of splits_final.json if that lies beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def fits(content: Mapping[str, Any]) -> bool:
    """Whether the content of a JSON file is that of an nnU-Net dataset."""
    return "channel_names" in content and "file_ending" in content


def rows(path: Path, content: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per file in imagesTr and imagesTs; each case is a patient, its channels share its label."""
    end, splits = content["file_ending"], path.with_name("splits_final.json")
    fold = json.loads(splits.read_text(encoding="utf-8"))[0] if splits.is_file() else {}
    parts = {case: part for part in ("train", "val") for case in fold.get(part, [])}
    found = []
    for folder, labels in (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs")):
        for file in sorted((path.parent / folder).glob(f"*{end}")):
            case, _, channel = file.name.removesuffix(end).rpartition("_")
            label = path.parent / labels / f"{case}{end}"
            found.append(
                {
                    "id": f"{folder}/{file.name}",
                    "label": f"{labels}/{label.name}" if label.is_file() else "",
                    "patient": case,
                    "split": "test" if folder == "imagesTs" else parts.get(case, ""),
                    "modality": str(content["channel_names"].get(str(int(channel)), "")) if channel.isdigit() else "",
                }
            )
    return found
