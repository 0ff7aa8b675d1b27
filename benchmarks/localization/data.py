"""Tables of the real sets, one row per image: its file, its label, its patient, and the part of a fold it is in."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

FOLDS = 5


class Line(NamedTuple):
    id: str
    label: str
    patient: str
    split: str


class Set(NamedTuple):
    """How a set is prepared and fine-tuned."""

    folder: str  # of the images, below the data folder
    preset: str
    recipe: str
    overrides: tuple[str, ...]


SETS = {
    "sts": Set("lesions3d/open/sts", "mr", "localize_tiny_3d", ("task.classes=[tumour]",)),
    "ms": Set("lesions3d/open/ms", "mr", "localize_tiny_3d", ("task.classes=[lesion]",)),
    "cxr": Set("cxr/open/images", "xray", "localize_tiny_2d", ("task.classes=[opacity]", "task.least_mm3=25")),
    "nuclei": Set(
        "he/open/images",
        "pathology",
        "localize_tiny_2d",
        ("channels=3", "task.truth=instances", "task.score=ap", "task.hit_at=0.5"),
    ),
    "lungs": Set("cxr/open/images", "xray", "segment_tiny_2d", ("augment.size=[128,128]", "task.classes=[lung]")),
}


def lines(name: str, data: Path, work: Path, fold: int) -> list[Line]:
    """The images of a set; patients are dealt to folds in the order of their names."""
    found = {"sts": _sts, "ms": _ms, "cxr": _cxr, "nuclei": _nuclei, "lungs": _lungs}[name](data, work)
    patients = sorted({line.patient for line in found})
    if name == "ms":  # two patients: one teaches, the other tests
        part = {patients[fold % 2]: "train", patients[1 - fold % 2]: "test"}
    else:
        test, val = fold % FOLDS, (fold + 1) % FOLDS
        parts = ["test" if i % FOLDS == test else "val" if i % FOLDS == val else "train" for i in range(len(patients))]
        part = dict(zip(patients, parts, strict=True))
    return [line._replace(split=part[line.patient]) for line in found]


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _sts(data: Path, work: Path) -> list[Line]:
    root = data / "lesions3d"
    rows = [r for r in _rows(root / "metadata.csv") if (r["collection"], r["modality"]) == ("sts", "MR_T1")]
    return [Line(Path(r["image"]).name, str(root / r["mask"]), r["subject"], "") for r in rows]


def _ms(data: Path, work: Path) -> list[Line]:
    root = data / "lesions3d"
    rows = [r for r in _rows(root / "metadata.csv") if r["collection"] == "open_ms" and "flair" in r["image"]]
    return [Line(Path(r["image"]).name, str(root / r["mask"]), r["subject"], "") for r in rows]


def _cxr(data: Path, work: Path) -> list[Line]:
    """Ground glass and consolidation together, as one class: a reader's masks of 28 images."""
    return _joined(data, work, ("mask_ggo", "mask_consolidation"), needs="lesion_frac")


def _lungs(data: Path, work: Path) -> list[Line]:
    return _joined(data, work, ("mask_lungs", "mask_lungs_v7"), needs="")


def _joined(data: Path, work: Path, columns: tuple[str, ...], needs: str) -> list[Line]:
    found = []
    for row in _rows(data / "cxr" / "metadata.csv"):
        files = [data / "cxr" / row[column] for column in columns if row[column]]
        if (needs and not row[needs]) or not (files or needs):
            continue
        shape = (int(row["h"]), int(row["w"]))
        mask = np.zeros(shape, bool)
        for file in files:
            mask |= np.asarray(Image.open(file).convert("L")) > 0
        target = work / "labels" / f"{row['id']}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8)).save(target)
        found.append(Line(row["id"], str(target), row["patient"], ""))
    return found


def _nuclei(data: Path, work: Path) -> list[Line]:
    rows = _rows(data / "he" / "metadata.csv")
    return [Line(r["id"], str(data / "he" / r["label"]), f"cluster{r['cluster']}", "") for r in rows]
