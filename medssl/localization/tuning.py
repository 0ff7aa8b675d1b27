"""What validation decides once and the test then takes as it is: the least size of a candidate, the operating point."""

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

LEAST = (0, 3, 5, 10, 20)  # voxels that are tried; nnDetection sweeps 0 to 20


def with_least(image: Findings, voxels: int) -> Findings:
    """The findings without candidates of fewer voxels."""
    return replace(image, candidates=tuple(one for one in image.candidates if one.region.size >= voxels))


def best_least(images: Sequence[Findings], classes: Sequence[str], rule: Rule) -> int:
    """The least size in voxels with the highest mean CPM on validation images; the smallest of equals."""
    values = []
    for voxels in LEAST:
        found = matched([with_least(image, voxels) for image in images], classes, rule)
        values.append(float(np.mean([cpm(froc(each)) for each in found.values()])) if found else 0.0)
    return LEAST[int(np.argmax(values))]


def best_threshold(
    images: Sequence[Findings], classes: Sequence[str], rule: Rule, choose: Literal["f1", "fp"], most_fp: float
) -> float:
    """The score from which on candidates are reported, chosen on validation images, one for all classes.

    Where validation has no lesion, or none was found, nothing can be chosen, and it is that of the mask.
    """
    found = matched(images, classes, rule)
    every = [image for each in found.values() for image in each]
    if not every:
        return MASK
    chosen = operating_point(every, choose, most_fp / len(found)).threshold
    return chosen if np.isfinite(chosen) else MASK
