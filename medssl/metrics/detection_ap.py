"""Average precision of scored candidates, as in COCO and nnDetection, or as a step function.

Candidates of all images are sorted by score. Here, a second candidate on a lesion is a false positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from medssl.metrics.matching import Rule, match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.metrics.lesions import Findings
    from medssl.metrics.matching import Matched

RECALLS = np.linspace(0, 1, 101)
MOST = 100  # candidates per image, the best ones (COCO, nnDetection)
NNDETECTION = tuple(np.linspace(0.1, 0.5, 9).tolist())  # IoU .1 : .05 : .5


def average_precision(images: Sequence[Matched], recall: Literal["coco", "step"] = "coco") -> float:
    """Area under the precision-recall curve; NaN without lesions, 0 without candidates.

    Args:
        images: results of `matching.match(..., most=MOST)`, one per image.
        recall: "coco" makes precision monotone from the right and averages it at 101 recalls, equal scores in the order
            of the images; "step" sums precision times the gain in recall at each distinct score (scikit-learn).
    """
    lesions = sum(image.lesions for image in images)
    if lesions == 0:
        return float("nan")
    counted = [image.counted("false") for image in images]
    score = np.concatenate([scores for scores, _ in counted])
    order = np.argsort(-score, kind="stable")
    hit = np.concatenate([hits for _, hits in counted])[order]
    if not len(hit):
        return 0.0
    true = hit.cumsum()
    precision, share = true / np.arange(1, len(true) + 1), true / lesions
    if recall == "coco":
        return _at_recalls(precision, share)
    last = np.append(np.diff(score[order]) != 0, True)
    return float((precision[last] * np.diff(share[last], prepend=0)).sum())


def _at_recalls(precision: np.ndarray, recall: np.ndarray) -> float:
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS - 1e-12)
    return float(np.append(monotone, 0)[place].mean())


def class_precisions(
    images: Sequence[Findings], classes: Sequence[str], thresholds: Sequence[float] = (0.1,)
) -> Mapping[str, float]:
    """COCO average precision of each class, the mean over IoU `thresholds`; NaN for a class without lesions.

    AP@.1 is nnDetection's headline; its mAP takes `NNDETECTION`. Leave classes that are NaN out of a mean over classes
    (nnDetection averages them in as -1).
    """

    def of(label: str, threshold: float) -> float:
        return average_precision([match(image.of_class(label), Rule("iou", threshold), MOST) for image in images])

    return {label: float(np.mean([of(label, threshold) for threshold in thresholds])) for label in classes}
