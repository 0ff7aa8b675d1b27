"""Scores of boxes and maps from image labels only, and of baselines without a network, from rows of results.json.

A row has the probability of each class, the lesions of the image, and the map of each class; boxes at any threshold,
and every score, follow from these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from medssl.localization.heat import on_border, restored
from medssl.metrics import heat_maps
from medssl.metrics.candidates import of_heat
from medssl.metrics.lesions import Findings
from medssl.metrics.statistics import known_mean
from medssl.metrics.weak_boxes import IOBB, IOU, box_accuracy, covered, fixed_box, overlap, random_pointing, whole_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.metrics.lesions import Candidate

MOST = 3  # boxes per map
LEAST_SHARE = 0.005  # of the image: smaller components are not candidates
CUTS = tuple(np.arange(0.05, 0.951, 0.05).round(2).tolist())
TWO_LEVELS = (0.235, 0.706)  # 60 and 180 of 255: ChestX-ray8, section 4
Cut = float | Literal["otsu", "two_level"]
Row = dict[str, Any]


class Located(NamedTuple):
    """For one image and one class: the findings, the map at the size of the image, and the truth as a mask."""

    image: Findings
    heat: np.ndarray
    truth: np.ndarray


def candidates(heat: np.ndarray, label: str, cut: Cut, probability: float) -> tuple[Candidate, ...]:
    """The boxes of a map (*S); their score is the probability of the class times their peak over the map's peak."""
    if cut == "two_level":
        both = [_of_heat(heat, label, level, probability) for level in TWO_LEVELS]
        return tuple(sorted((one for each in both for one in each), key=lambda one: -one.score))
    return _of_heat(heat, label, None if cut == "otsu" else float(cut), probability)


def _of_heat(heat: np.ndarray, label: str, level: float | None, probability: float) -> tuple[Candidate, ...]:
    return of_heat(heat, label, level, scale=probability, most=MOST, least_share=LEAST_SHARE)


def located(rows: Sequence[Row], label: str) -> list[Located]:
    """The images that were searched for lesions, with the map of one class."""
    found = []
    for row in rows:
        if "findings" in row:
            image = Findings.from_json(row["findings"]).of_class(label)
            assert image.shape is not None
            found.append(Located(image, restored(row["heat"][label], image.shape), covered(image)))
    return found


def best_cut(rows: Sequence[Row], labels: Sequence[str]) -> Cut:
    """The threshold whose hottest boxes overlap the boxes of validation images most; Otsu's if there are no boxes."""
    gained = np.zeros(len(CUTS))
    boxes = 0
    for label in labels:
        for image, heat, _ in located(rows, label):
            lesions = [lesion for lesion in image.lesions if not lesion.ignore]
            boxes += len(lesions)
            for number, cut in enumerate(CUTS if lesions else ()):
                hottest = candidates(heat, label, cut, 1.0)[:1]
                gained[number] += float(overlap(hottest, lesions, "iou").sum())
    return CUTS[int(gained.argmax())] if boxes else "otsu"


def of_class(found: Sequence[Located]) -> dict[str, float]:
    """Accuracy of the hottest box at each overlap, false boxes per image, pointing and voxels, for one class."""
    images = [one.image for one in found]
    positive = [one for one in found if one.truth.any()]
    summed = {f"iou_{t:g}": box_accuracy(images, t).accuracy for t in IOU}
    summed |= {f"iobb_{t:g}": box_accuracy(images, t, "iobb").accuracy for t in IOBB}
    summed["false_boxes_per_image"] = box_accuracy(images, IOU[0], which="any").false_per_image
    heats, truths = [one.heat for one in positive], [one.truth for one in positive]
    pointed = [heat_maps.pointing(heat, truth) for heat, truth in zip(heats, truths, strict=True)]
    summed["pointing"] = known_mean(pointed)
    summed["pixel_ap"] = heat_maps.pixel_ap(heats, truths) if positive else float("nan")
    summed["pixel_auc"] = heat_maps.pixel_auc(heats, truths) if positive else float("nan")
    summed["empty_maps"] = known_mean(not one.heat.any() for one in positive)
    summed["peaks_on_border"] = known_mean(on_border(one.heat) for one in found if one.heat.any())
    return summed


def no_network(found: Sequence[Located], patients: Sequence[str]) -> dict[str, dict[str, float]]:
    """Baselines without a network: one box for all, the whole image, a random voxel, the share of true voxels."""
    own = [image for image, _, _ in found]
    boxes = {"whole image": [whole_image(image) for image in own], "best fixed box": fixed_box(own, patients)}
    made = {name: {f"iou_{t:g}": box_accuracy(images, t).accuracy for t in IOU} for name, images in boxes.items()}
    chance = known_mean(random_pointing(image) for image in own)
    truths = [one.truth.ravel() for one in found if one.truth.any()]
    share = float(np.concatenate(truths).mean()) if truths else float("nan")
    made["random voxel"] = {"pointing": chance, "pixel_ap": share}
    return made


def mean_accuracy(images: Sequence[Findings]) -> tuple[np.ndarray, np.ndarray]:
    """For each image, the summed accuracy of its boxes (averaged over the overlaps), and the number of boxes."""
    gained, boxes = np.zeros(len(images)), np.zeros(len(images))
    for number, image in enumerate(images):
        each = [box_accuracy([image], threshold) for threshold in IOU]
        boxes[number] = each[0].boxes
        gained[number] = sum(one.accuracy for one in each) / len(IOU) * boxes[number] if each[0].boxes else 0.0
    return gained, boxes


def mean_over(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over classes; NaN if no class has it."""
    names = dict.fromkeys(name for each in found.values() for name in each)
    return {name: known_mean(each[name] for each in found.values()) for name in names}
