"""Free-response ROC: sensitivity over false positives per image, as a step function of all thresholds.

At score t: TP(t) lesions whose best candidate scores at least t, FP(t) other such candidates, over all images. Equal
scores are one threshold, and the lowest one counts too (MONAI's `compute_froc_curve_data` drops it, and with it the
last lesion found). The sensitivity at a rate is that of an actual threshold, not interpolated between two (LUNA16 and
nnDetection interpolate; CAMELYON16 and PI-CAI take the step, as here). Lesions are pooled over images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from medssl.metrics.statistics import Interval, expanded_interval, patient_weights, pseudo_values
from medssl.metrics.statistics.groups import members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.metrics.matching import Matched

Duplicates = Literal["drop", "false"]
RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives per image: LUNA16, nnDetection
CAMELYON_RATES = RATES[1:]
CHUNK = 500  # resamples in memory at a time


class Froc(NamedTuple):
    """Counts at each distinct score, in descending order; the first entry has threshold inf and no candidates."""

    threshold: np.ndarray  # (T,)
    true: np.ndarray  # (T,) lesions found
    false: np.ndarray  # (T,) false positives in all images
    false_in_negatives: np.ndarray  # (T,) those in images without lesions
    images: int
    negatives: int  # images without lesions
    lesions: int

    @property
    def sensitivity(self) -> np.ndarray:
        """Share of the lesions found (T,); NaN without lesions."""
        return self.true / self.lesions if self.lesions else np.full(len(self.true), np.nan)

    @property
    def fp_per_image(self) -> np.ndarray:
        """False positives per image (T,), over all images."""
        return self.false / max(self.images, 1)

    @property
    def fp_per_negative(self) -> np.ndarray:
        """False positives per image without lesions (T,); NaN if there is no such image."""
        return self.false_in_negatives / self.negatives if self.negatives else np.full(len(self.false), np.nan)

    def at(self, rate: float) -> int:
        """Index of the lowest threshold with at most `rate` false positives per image."""
        return int(np.searchsorted(self.false, rate * self.images + 1e-9, side="right")) - 1

    def as_json(self) -> dict[str, Any]:
        """The curve and its counts for results.json, without the first entry, which has no threshold."""
        curve = {"threshold": self.threshold, "true": self.true, "false": self.false}
        curve["false_in_negatives"] = self.false_in_negatives
        counts = {"images": self.images, "negatives": self.negatives, "lesions": self.lesions}
        return counts | {name: values[1:].tolist() for name, values in curve.items()}


def froc(images: Sequence[Matched], duplicates: Duplicates = "drop") -> Froc:
    """The curve over all images, including those without lesions.

    Args:
        images: results of `matching.match`, one per image that was searched for lesions.
        duplicates: "drop" ignores further candidates on a lesion already found (LUNA16, CAMELYON16, PI-CAI);
            "false" counts them as false positives (COCO).

    Example:
        >>> from medssl.metrics.lesions import Candidate, Findings, Lesion, Region
        >>> from medssl.metrics.matching import Rule, match
        >>> box = Region.of_box((0, 0), (4, 4))
        >>> image = Findings((1.0, 1.0), (Lesion("mass", box),), (Candidate("mass", box, 0.8),))
        >>> cpm(froc([match(image, Rule("iou", 0.1))]))
        1.0
    """
    whole = by_patient(images, range(len(images)), duplicates)
    negative = np.array([image.negative for image in images], dtype=bool)
    return Froc(
        whole.threshold,
        whole.true.sum(1),
        whole.false.sum(1),
        whole.false[:, negative].sum(1),
        len(images),
        int(negative.sum()),
        int(whole.lesions.sum()),
    )


def sensitivity_at(curve: Froc, rates: Sequence[float] = RATES) -> list[float]:
    """The largest sensitivity with at most this many false positives per image; 0 if there is no such point."""
    return [float(curve.sensitivity[curve.at(rate)]) for rate in rates]


def threshold_at(curve: Froc, rates: Sequence[float] = RATES) -> list[float]:
    """The threshold for each rate; inf if even the best candidate is one false positive too many."""
    return [float(curve.threshold[curve.at(rate)]) for rate in rates]


def cpm(curve: Froc, rates: Sequence[float] = RATES) -> float:
    """Competition performance metric: mean sensitivity at the rates (LUNA16 has seven, CAMELYON16 six)."""
    return float(np.mean(sensitivity_at(curve, rates)))


class PatientCounts(NamedTuple):
    """The counts of each patient; resamples are weighted sums of them."""

    threshold: np.ndarray  # (T,)
    true: np.ndarray  # (T,P)
    false: np.ndarray  # (T,P)
    lesions: np.ndarray  # (P,)
    images: np.ndarray  # (P,)


def by_patient(images: Sequence[Matched], patients: Sequence[Any], duplicates: Duplicates = "drop") -> PatientCounts:
    """The counts of each patient (in order of first occurrence) at the thresholds of all images."""
    groups = members(patients)
    owner = np.zeros(len(images), int)
    for number, own in enumerate(groups):
        owner[own] = number
    counted = [image.counted(duplicates) for image in images]
    score = np.concatenate([np.empty(0), *(scores for scores, _ in counted)])
    hit = np.concatenate([np.empty(0, bool), *(hits for _, hits in counted)])
    of = np.repeat(owner, [len(scores) for scores, _ in counted])
    threshold = np.concatenate([[np.inf], np.unique(score)[::-1]])
    counts = np.zeros((2, len(threshold), len(groups)), int)
    np.add.at(counts, (hit.astype(int), len(threshold) - np.searchsorted(threshold[::-1], score) - 1, of), 1)
    false, true = counts.cumsum(1)
    lesions = [sum(images[i].lesions for i in own) for own in groups]
    return PatientCounts(threshold, true, false, np.array(lesions, int), np.array([len(own) for own in groups], int))


def weighted_cpm(counts: PatientCounts, weights_BP: np.ndarray, rates: Sequence[float] = RATES) -> np.ndarray:
    """CPM (B,) of B samples in which each patient counts `weights_BP` (B,P) times; NaN for a sample without lesions."""
    parts = np.array_split(weights_BP, max(1, -(-len(weights_BP) // CHUNK)))
    return np.concatenate([_cpm(counts, part, rates) for part in parts])


def cpm_interval(
    counts: PatientCounts, rng: np.random.Generator, *, rates: Sequence[float] = RATES, resamples: int = 2000
) -> Interval:
    """CPM with its 95% expanded percentile bootstrap interval over patients."""
    patients = len(counts.images)
    estimate = float(weighted_cpm(counts, np.ones((1, patients)), rates)[0])
    values = weighted_cpm(counts, patient_weights(patients, resamples, rng), rates)
    return Interval(estimate, *expanded_interval(values, patients))


def cpm_pseudo_values(counts: PatientCounts, rates: Sequence[float] = RATES) -> np.ndarray:
    """Jackknife pseudo-values of the CPM (P,), for `statistics.mrmc`."""
    patients = len(counts.images)
    full = float(weighted_cpm(counts, np.ones((1, patients)), rates)[0])
    return pseudo_values(full, weighted_cpm(counts, 1 - np.eye(patients), rates))


def _cpm(counts: PatientCounts, weights_BP: np.ndarray, rates: Sequence[float]) -> np.ndarray:
    true, false = counts.true @ weights_BP.T, counts.false @ weights_BP.T  # (T,B)
    lesions, images = weights_BP @ counts.lesions, weights_BP @ counts.images
    found = []
    for rate in rates:
        last = (false <= rate * images + 1e-9).sum(0) - 1  # false never decreases along T
        found.append(np.take_along_axis(true, last[None], axis=0)[0])
    return np.divide(np.mean(found, axis=0), lesions, out=np.full(len(lesions), np.nan), where=lesions > 0)
