"""What is chosen on validation and then fixed for the test: the minimum size of candidates, and the operating point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from medssl.localization.scores import MASK, matched
from medssl.metrics.froc import cpm, froc
from medssl.metrics.lesion_counts import operating_point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.lesions import Findings
    from medssl.metrics.matching import Rule

LEAST = (0, 3, 5, 10, 20)  # minimum sizes in voxels that are tried; nnDetection tries 0 to 20


def with_least(image: Findings, voxels: int) -> Findings:
    """The findings without candidates of fewer than `voxels` voxels."""
    return replace(image, candidates=tuple(one for one in image.candidates if one.region.size >= voxels))


def best_least(images: Sequence[Findings], classes: Sequence[str], rule: Rule) -> int:
    """The minimum size in voxels with the highest mean CPM on validation images; on ties the smallest."""
    values = []
    for voxels in LEAST:
        found = matched([with_least(image, voxels) for image in images], classes, rule)
        values.append(float(np.mean([cpm(froc(each)) for each in found.values()])) if found else 0.0)
    return LEAST[int(np.argmax(values))]


def best_threshold(
    images: Sequence[Findings], classes: Sequence[str], rule: Rule, choose: Literal["f1", "fp"], most_fp: float
) -> float:
    """The lowest score of reported candidates, chosen on validation images, the same for all classes.

    If validation has no lesions, or none was found, it is the score of the mask.
    """
    found = matched(images, classes, rule)
    every = [image for each in found.values() for image in each]
    if not every:
        return MASK
    chosen = operating_point(every, choose, most_fp / len(found)).threshold
    return chosen if np.isfinite(chosen) else MASK
