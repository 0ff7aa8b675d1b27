"""Lesions found and missed, false positives, and the operating point: a threshold chosen on validation, then fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from medssl.metrics.froc import froc
from medssl.metrics.matching import DUPLICATE, FALSE, HIT, Rule, agreements, match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.lesions import Findings
    from medssl.metrics.matching import Matched


class Counts(NamedTuple):
    """Counts of one image or several. `found` and `matched` differ if a candidate covers two lesions and finds both."""

    lesions: int
    found: int  # lesions hit: the true positives of the reference
    candidates: int  # those on ignored lesions do not count
    matched: int  # candidates on a lesion: the true positives of the prediction

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def missed(self) -> int:
        """False negatives."""
        return self.lesions - self.found

    @property
    def false(self) -> int:
        """False positives."""
        return self.candidates - self.matched

    @property
    def sensitivity(self) -> float:
        """Found / lesions (LTPR); NaN without lesions."""
        return self.found / self.lesions if self.lesions else float("nan")

    @property
    def precision(self) -> float:
        """Matched / candidates; NaN without candidates. LFPR is one minus this."""
        return self.matched / self.candidates if self.candidates else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both, one to one 2 TP / (2 TP + FP + FN); 0 if either is 0, NaN without lesions."""
        if not self.lesions:
            return float("nan")
        both = self.sensitivity * self.precision if self.matched else 0.0
        return 2 * both / (self.sensitivity + self.precision) if both else 0.0

    def as_json(self) -> dict[str, Any]:
        """Counts and the scores that follow from them."""
        names = ("missed", "false", "sensitivity", "precision", "f1")
        return {**self._asdict(), **{name: getattr(self, name) for name in names}}


def one_to_one(image: Matched, threshold: float = -np.inf) -> Counts:
    """Counts of the candidates with a score of at least `threshold`; a second one on a lesion is a false positive."""
    verdict = image.verdict[image.score >= threshold]
    hits = int((verdict == HIT).sum())
    return Counts(image.lesions, hits, hits + int(np.isin(verdict, (FALSE, DUPLICATE)).sum()), hits)


def any_overlap(image: Findings, rule: Rule | None = None) -> Counts:
    """Counts without one-to-one: a lesion is found if any candidate hits it, a candidate matched if it hits any.

    With the rule `overlap` (default) these are LTPR and 1 - LFPR of ISBI 2015.
    """
    hits = agreements(image, rule or Rule("overlap")) > -np.inf
    real = np.array([not lesion.ignore for lesion in image.lesions], dtype=bool)
    matched = hits[:, real].any(1)
    on_ignored = hits[:, ~real].any(1) & ~matched
    return Counts(int(real.sum()), int(hits[:, real].any(0).sum()), int((~on_ignored).sum()), int(matched.sum()))


def pooled(counts: Sequence[Counts]) -> Counts:
    """The sum over images: lesions, not patients, count equally."""
    return sum(counts, Counts(0, 0, 0, 0))


class OperatingPoint(NamedTuple):
    """A score threshold and the counts on the images on which it was chosen."""

    threshold: float
    chosen_on: Counts


def operating_point(
    validation: Sequence[Matched], choose: Literal["f1", "fp"] = "f1", most_fp: float = 1.0
) -> OperatingPoint:
    """Choose the threshold for one-to-one counts on validation images; use it for the test afterwards.

    `choose` is "f1" (the largest; the higher threshold on ties) or "fp" (the lowest threshold with at most `most_fp`
    false positives per image). Infinite if no candidate can be accepted.
    """
    curve = froc(validation, duplicates="false")
    if choose == "fp":
        chosen = float(curve.threshold[curve.at(most_fp)])
    else:
        f1 = 2 * curve.true / np.maximum(curve.true + curve.false + curve.lesions, 1)
        chosen = float(curve.threshold[int(f1.argmax())])
    return OperatingPoint(chosen, pooled([one_to_one(image, chosen) for image in validation]))


def mask_counts(image: Findings, threshold: float = 0.1) -> Counts:
    """One-to-one counts of components against lesions at IoU >= `threshold`: the lesion-wise F1 of a mask."""
    return one_to_one(match(image, Rule("iou", threshold)))
