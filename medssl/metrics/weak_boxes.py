"""Boxes found by a classifier that was trained without boxes: accuracy at an overlap, and baselines without a network.

The threshold of the map and the checkpoint are chosen on boxes of validation patients and then fixed (Choe et al.
2020); the best over thresholds on the test set is an upper bound, not a result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from medssl.metrics.lesions import Candidate, Findings, Region
from medssl.metrics.matching import intersections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.lesions import Lesion

IOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
IOBB = (0.1, 0.25, 0.5)


class BoxAccuracy(NamedTuple):
    """Box accuracy over images of one class."""

    accuracy: float  # boxes found / boxes; NaN without boxes
    false_per_image: float  # candidates that find no box, per image (AFP)
    boxes: int


def overlap(candidates: Sequence[Candidate], lesions: Sequence[Lesion], by: Literal["iou", "iobb"]) -> np.ndarray:
    """Overlap of boxes (C,L): intersection over union, or over the area of the candidate's box."""
    found = [Candidate(one.label, _box(one.region), one.score) for one in candidates]
    shared = intersections(found, lesions)
    own, theirs = (np.array([_box(one.region).size for one in kind]) for kind in (candidates, lesions))
    whole = own[:, None] + (theirs - shared if by == "iou" else np.zeros_like(shared))
    return shared / whole if shared.size else shared


def box_accuracy(
    images: Sequence[Findings],
    threshold: float,
    by: Literal["iou", "iobb"] = "iou",
    *,
    which: Literal["hottest", "any"] = "hottest",
    strict: bool = True,
) -> BoxAccuracy:
    """Share of the boxes of one class that a candidate overlaps by more than `threshold` (ChestX-ray8, section 4).

    Args:
        images: findings of that class (`Findings.of_class`); images without lesions count for AFP only.
        threshold: of the overlap.
        by: "iou", or "iobb": intersection over the detected box, which rewards small boxes.
        which: only the candidate with the highest score, or any (then report `false_per_image` too).
        strict: overlap > threshold, as in ChestX-ray8; False uses >= (BoxAcc of Choe et al.).
    """
    found = boxes = false = 0
    for image in images:
        lesions = [lesion for lesion in image.lesions if not lesion.ignore]
        candidates = sorted(image.candidates, key=lambda one: -one.score)[: 1 if which == "hottest" else None]
        shares = overlap(candidates, lesions, by)
        hits = shares > threshold if strict else shares >= threshold
        boxes += len(lesions)
        found += int(hits.any(0).sum())
        false += int((~hits.any(1)).sum())
    return BoxAccuracy(found / boxes if boxes else float("nan"), false / max(len(images), 1), boxes)


def whole_image(image: Findings) -> Findings:
    """A baseline: the whole image as the only candidate of each class that has a lesion."""
    return _with_box(image, (0.0,) * len(_shape(image)), (1.0,) * len(_shape(image)))


def fixed_box(images: Sequence[Findings], patients: Sequence[str]) -> list[Findings]:
    """A baseline: one box per image, relative to its size, that fits the boxes of all other patients best.

    It is the box of another patient with the highest mean IoU with the boxes of the other patients. Images (N,)
    of one class, with their shapes, and their patients.
    """
    shares = [[_shares(lesion.region, _shape(image)) for lesion in image.lesions] for image in images]
    boxes = [box for own in shares for box in own]
    owner = np.array([who for who, own in zip(patients, shares, strict=True) for _ in own])
    fits = _ious(np.array(boxes, dtype=float).reshape(len(boxes), 2, -1))
    best: dict[str, int | None] = {}
    for patient in dict.fromkeys(patients):
        others = np.flatnonzero(owner != patient)
        best[patient] = int(others[fits[np.ix_(others, others)].mean(1).argmax()]) if len(others) else None
    return [
        Findings(image.spacing, image.lesions, (), image.shape)
        if (number := best[patient]) is None
        else _with_box(image, *boxes[number])
        for image, patient in zip(images, patients, strict=True)
    ]


def random_pointing(image: Findings) -> float:
    """A baseline: the chance that a random voxel lies in the mask or box of a lesion that counts; NaN without one."""
    counts = any(not lesion.ignore for lesion in image.lesions)
    return float(covered(image).mean()) if counts else float("nan")


def covered(image: Findings) -> np.ndarray:
    """The voxels (*S) of the lesions that count: of masks, or of boxes those with their centre inside."""
    found = np.zeros(_shape(image), bool)
    for lesion in image.lesions:
        region = lesion.region
        if lesion.ignore or region.start is None or region.stop is None:
            continue
        box = zip(region.start, region.stop, strict=True)
        window = tuple(slice(max(math.floor(a + 0.5), 0), math.floor(b + 0.5)) for a, b in box)
        found[window] |= True if region.mask is None else region.mask
    return found


_Shares = tuple[tuple[float, ...], tuple[float, ...]]


def _with_box(image: Findings, start: Sequence[float], stop: Sequence[float]) -> Findings:
    shape = _shape(image)
    region = Region.of_box(
        *(tuple(c * side for c, side in zip(corner, shape, strict=True)) for corner in (start, stop))
    )
    labels = dict.fromkeys(lesion.label for lesion in image.lesions)
    return Findings(image.spacing, image.lesions, tuple(Candidate(label, region, 1.0) for label in labels), shape)


def _shares(region: Region, shape: Sequence[int]) -> _Shares:
    start, stop = (
        tuple(c / n for c, n in zip(corner or (), shape, strict=True)) for corner in (region.start, region.stop)
    )
    return start, stop


def _ious(boxes_B2n: np.ndarray) -> np.ndarray:
    """Intersection over union of every two boxes (B,B), in any unit."""
    start, stop = boxes_B2n[:, 0], boxes_B2n[:, 1]
    sides = np.minimum(stop[:, None], stop) - np.maximum(start[:, None], start)
    shared, size = np.maximum(sides, 0).prod(-1), (stop - start).prod(-1)
    return shared / (size[:, None] + size - shared)


def _box(region: Region) -> Region:
    if region.start is None or region.stop is None:
        raise ValueError("box accuracy needs boxes, but there is a point")
    return Region.of_box(region.start, region.stop)


def _shape(image: Findings) -> tuple[int, ...]:
    if image.shape is None:
        raise ValueError("this baseline needs the shape of the image: set Findings.shape")
    return image.shape
