"""Scores of lesions and candidates over images: FROC, AP, lesion-wise F1, and the operating point.

All scores are computed from the `Findings` in rows of results.json, so they can be computed again without the
network. A mean over classes is over those with a lesion in any image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medssl.metrics import detection_ap, lesion_counts
from medssl.metrics.froc import RATES, by_patient, cpm, froc, sensitivity_at, threshold_at, weighted_cpm
from medssl.metrics.lesions import Findings
from medssl.metrics.matching import match
from medssl.metrics.statistics import known_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.metrics.lesion_counts import Counts
    from medssl.metrics.matching import Matched, Rule

Score = Literal["cpm", "ap", "lesion_f1"]
MASK = 0.5  # score at which a candidate is part of the predicted mask


def reporting(threshold: float | None) -> float:
    """The score from which on a candidate is reported: the threshold, which may be 0, or that of a mask without one."""
    return MASK if threshold is None else threshold


def findings(rows: Sequence[Mapping[str, Any]]) -> list[Findings]:
    """The lesions and candidates in rows of results.json."""
    return [Findings.from_json(row["findings"]) for row in rows]


def matched(images: Sequence[Findings], classes: Sequence[str], rule: Rule) -> dict[str, list[Matched]]:
    """The matches of each class that has a lesion in the images."""
    return _with_lesions(_matches(images, classes, rule))


def summary(
    images: Sequence[Findings], classes: Sequence[str], rule: Rule, threshold: float | None
) -> dict[str, float]:
    """All scores of a set of images, with `operating_*` if a `threshold` was chosen."""
    every = _matches(images, classes, rule)
    found = _with_lesions(every)
    curves = {name: froc(each) for name, each in found.items()}
    scores = {name: cpm(curve) for name, curve in curves.items()}
    precisions = {name: detection_ap.average_precision(_best(each)) for name, each in found.items()}
    summed = {"cpm": known_mean(scores.values()), "ap": known_mean(precisions.values())}
    at = [sensitivity_at(curve) for curve in curves.values()]
    summed |= {f"sensitivity_at_{rate:g}_fp": known_mean(each[i] for each in at) for i, rate in enumerate(RATES)}
    summed |= _counted(found, MASK, "lesion")
    if threshold is not None:
        summed |= _counted(found, threshold, "operating") | _false(images, every, threshold)
    if len(classes) > 1:
        summed |= {f"cpm.{name}": value for name, value in scores.items()}
        summed |= {f"ap.{name}": value for name, value in precisions.items()}
    real = [[lesion for lesion in image.lesions if not lesion.ignore] for image in images]
    summed |= {"images": len(images), "negatives": sum(not image.lesions for image in images)}
    return summed | {"lesions": sum(map(len, real))}


def curves(images: Sequence[Findings], classes: Sequence[str], rule: Rule) -> dict[str, Any]:
    """For each class with lesions the FROC, counts at each threshold, and the threshold for each rate (or None)."""
    found = {}
    for name, each in matched(images, classes, rule).items():
        curve = froc(each)
        scores = [float(score) if np.isfinite(score) else None for score in threshold_at(curve)]
        rates = {"fp_per_image": list(RATES), "sensitivity": sensitivity_at(curve), "threshold": scores}
        found[name] = {"at": rates, "curve": curve.as_json()}
    return found


def resampled(
    images: Sequence[Findings], classes: Sequence[str], rule: Rule, score: Score
) -> Callable[[np.ndarray], float]:
    """The score of the images with given indices, which may repeat; NaN if a class has no lesion in them."""
    found = list(matched(images, classes, rule).values())
    if not found:
        return lambda i: float("nan")
    if score == "cpm":
        counts = [by_patient(each, range(len(images))) for each in found]

        def cpms(i: np.ndarray) -> float:
            weights = np.bincount(i, minlength=len(images))[None].astype(float)
            return float(np.mean([weighted_cpm(each, weights)[0] for each in counts]))

        return cpms
    if score == "ap":
        best = [_best(each) for each in found]
        return lambda i: float(np.mean([detection_ap.average_precision([each[k] for k in i]) for each in best]))
    tallies = [[lesion_counts.one_to_one(image, MASK) for image in each] for each in found]
    return lambda i: float(np.mean([lesion_counts.pooled([each[k] for k in i]).f1 for each in tallies]))


def _matches(images: Sequence[Findings], classes: Sequence[str], rule: Rule) -> dict[str, list[Matched]]:
    return {name: [match(image.of_class(name), rule) for image in images] for name in classes}


def _with_lesions(found: Mapping[str, list[Matched]]) -> dict[str, list[Matched]]:
    return {name: each for name, each in found.items() if any(image.lesions for image in each)}


def _best(images: Sequence[Matched]) -> list[Matched]:
    """The best candidates of each image, as many as COCO and nnDetection use."""
    most = detection_ap.MOST
    return [
        image._replace(score=image.score[:most], verdict=image.verdict[:most], lesion=image.lesion[:most])
        for image in images
    ]


def _counted(found: Mapping[str, Sequence[Matched]], threshold: float, prefix: str) -> dict[str, float]:
    """One-to-one scores with lesions pooled over images, averaged over classes."""
    counts: list[Counts] = [
        lesion_counts.pooled([lesion_counts.one_to_one(image, threshold) for image in each]) for each in found.values()
    ]
    return {
        f"{prefix}_{name}": known_mean(getattr(each, name) for each in counts)
        for name in ("f1", "sensitivity", "precision")
    }


def _false(images: Sequence[Findings], every: Mapping[str, Sequence[Matched]], threshold: float) -> dict[str, float]:
    """False positives at the operating point, for all classes together."""
    each = [
        sum(lesion_counts.one_to_one(of_class[number], threshold).false for of_class in every.values())
        for number in range(len(images))
    ]
    negative = [count for count, image in zip(each, images, strict=True) if not image.lesions]
    return {
        "operating_threshold": threshold,
        "operating_fp_per_image": known_mean(each),
        "operating_fp_per_negative": known_mean(negative),
    }
