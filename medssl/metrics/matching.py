"""Which candidate hits which lesion: hit rules by name, and greedy matching in descending order of score.

Greedy, not optimal (Hungarian), so that the matches at a threshold do not depend on candidates below it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.lesions import Candidate, Findings, Lesion, Place, Region

Kind = Literal["centre", "distance", "iou", "overlap", "iobb"]
HIT, DUPLICATE, IGNORED, FALSE = range(4)


class Rule(NamedTuple):
    """When a candidate hits a lesion.

    | kind | hit | source |
    |---|---|---|
    | centre | the candidate's centre lies in the lesion's mask (nearest voxel), else in its box | CAMELYON16 |
    | distance | the centres are closer than half the lesion's diameter, in mm | LUNA16 |
    | iou | intersection over union >= threshold | COCO, nnDetection, PI-CAI |
    | overlap | at least one common voxel | ISBI-2015 (LTPR) |
    | iobb | intersection over the candidate's own size > threshold | ChestX-ray8 |
    """

    kind: Kind = "iou"
    threshold: float = 0.1  # for iou and iobb


class Matched(NamedTuple):
    """The candidates of one image, best first, and the verdict on each."""

    score: np.ndarray  # (C,) descending
    verdict: np.ndarray  # (C,) HIT, DUPLICATE (its lesions were already found), IGNORED or FALSE
    lesion: np.ndarray  # (C,) index of the lesion hit, -1 if none
    lesions: int  # number of lesions that are not ignored
    negative: bool  # the image has no lesion, not even an ignored one

    def counted(self, duplicates: Literal["drop", "false"]) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the candidates that count, and whether each is a hit; see `froc.froc` for `duplicates`."""
        kept = self.verdict != IGNORED
        if duplicates == "drop":
            kept &= self.verdict != DUPLICATE
        return self.score[kept], self.verdict[kept] == HIT


def match(image: Findings, rule: Rule, most: int | None = None) -> Matched:
    """Assign to each candidate, in descending order of score, the free lesion that it agrees with most.

    Args:
        image: the findings of one class (`Findings.of_class`): classes are not compared here.
        rule: when a candidate hits a lesion.
        most: use only this many candidates, the best.

    On equal scores, the candidate that agrees more comes first. A candidate that hits no free lesion but an ignored one
    is ignored (COCO); one that hits only lesions already found is a duplicate.
    """
    agreement = agreements(image, rule)
    score = np.array([one.score for one in image.candidates], dtype=float)
    best = agreement.max(1) if agreement.size else np.zeros(len(score))
    order = np.lexsort((-best, -score))[:most]
    ignored = np.array([lesion.ignore for lesion in image.lesions], dtype=bool)
    verdict, chosen = np.full(len(order), FALSE), np.full(len(order), -1)
    free = ~ignored
    for place, candidate in enumerate(order if ignored.size else ()):
        hits = agreement[candidate] > -np.inf
        for wanted, outcome in ((free, HIT), (ignored, IGNORED), (~ignored, DUPLICATE)):
            if (hits & wanted).any():
                chosen[place] = np.where(hits & wanted, agreement[candidate], -np.inf).argmax()
                verdict[place] = outcome
                break
        if verdict[place] == HIT:
            free[chosen[place]] = False
    return Matched(score[order], verdict, chosen, int((~ignored).sum()), not ignored.size)


def agreements(image: Findings, rule: Rule) -> np.ndarray:
    """How well each candidate agrees with each lesion (C,L); -inf if it does not hit it."""
    if rule.kind in ("centre", "distance"):
        return _agreements_of_centres(image, rule.kind)
    shared = intersections(image.candidates, image.lesions)
    own, theirs = _sizes(image)
    union = own + theirs - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    if rule.kind == "iou":
        return np.where((iou >= rule.threshold) & (shared > 0), iou, -np.inf)
    if rule.kind == "overlap":
        return np.where(shared > 0, iou, -np.inf)
    iobb = np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)
    return np.where(iobb > rule.threshold, iobb, -np.inf)


def intersections(candidates: Sequence[Candidate], lesions: Sequence[Lesion]) -> np.ndarray:
    """Number of common voxels (C,L): of the masks if both have one, else of the boxes."""
    shared = np.zeros((len(candidates), len(lesions)))
    if not shared.size:
        return shared
    low = np.maximum(_corners(candidates, "start")[:, None], _corners(lesions, "start"))
    high = np.minimum(_corners(candidates, "stop")[:, None], _corners(lesions, "stop"))
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    for c, k in zip(*np.nonzero(shared), strict=True):
        one, other = candidates[c].region, lesions[k].region
        if one.mask is not None and other.mask is not None:
            window = low[c, k].astype(int), high[c, k].astype(int)
            shared[c, k] = np.count_nonzero(_part(one, *window) & _part(other, *window))
    return shared


def _sizes(image: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of voxels of candidates and of lesions, (C,L) each: of the masks if both have one, else of the boxes."""
    regions = [[one.region for one in found] for found in (image.candidates, image.lesions)]
    masked, size, box = (
        [np.array([of(region) for region in kind], dtype=float) for kind in regions]
        for of in (lambda region: region.mask is not None, lambda region: region.size, _box_size)
    )
    both = masked[0][:, None] * masked[1] > 0
    own = np.where(both, size[0][:, None], box[0][:, None])
    return own, np.where(both, size[1], box[1])


def _box_size(region: Region) -> float:
    return math.prod(b - a for a, b in zip(region.start or (), region.stop or (), strict=True))


def _corners(found: Sequence[Candidate] | Sequence[Lesion], name: str) -> np.ndarray:
    corners = [getattr(one.region, name) for one in found]
    if any(corner is None for corner in corners):
        raise ValueError("a point cannot overlap: use the hit rule centre or distance, or give boxes")
    return np.array(corners, dtype=float)


def _part(region: Region, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    assert region.mask is not None
    assert region.start is not None
    box = zip(low, high, region.start, strict=True)
    return region.mask[tuple(slice(int(a - s), int(b - s)) for a, b, s in box)]


def _agreements_of_centres(image: Findings, kind: Kind) -> np.ndarray:
    found = np.full((len(image.candidates), len(image.lesions)), -np.inf)
    for c, candidate in enumerate(image.candidates):
        for k, lesion in enumerate(image.lesions):
            away = distance_mm(candidate.region.centre, lesion.region.centre, image.spacing)
            hit = holds(lesion.region, candidate.region.centre) if kind == "centre" else away < _radius(lesion, image)
            if hit:
                found[c, k] = -away
    return found


def distance_mm(one: Place, other: Place, spacing: Sequence[float]) -> float:
    """Distance between two indices in mm."""
    return math.dist([a * s for a, s in zip(one, spacing, strict=True)], np.multiply(other, spacing).tolist())


def holds(region: Region, centre: Place) -> bool:
    """Whether an index lies in the mask of a region (nearest voxel), or in its box."""
    if region.start is None or region.stop is None:
        raise ValueError("a point cannot contain a centre: use the hit rule distance")
    if region.mask is None:
        return all(a <= c + 0.5 < b for c, a, b in zip(centre, region.start, region.stop, strict=True))
    voxel = tuple(math.floor(c + 0.5) - int(a) for c, a in zip(centre, region.start, strict=True))
    inside = all(0 <= i < side for i, side in zip(voxel, region.mask.shape, strict=True))
    return inside and bool(region.mask[voxel])


def _radius(lesion: Lesion, image: Findings) -> float:
    if lesion.diameter_mm is not None:
        return lesion.diameter_mm / 2
    start, stop = lesion.region.start, lesion.region.stop
    if start is None or stop is None:
        raise ValueError(f"a lesion of class {lesion.label} is a point without a diameter: give diameter_mm")
    return max((b - a) * step for a, b, step in zip(start, stop, image.spacing, strict=True)) / 2
