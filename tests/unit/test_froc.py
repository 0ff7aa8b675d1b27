"""FROC by the step rule: hand cases (named as in localization.md), brute force, resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medssl.metrics import froc as room
from medssl.metrics.froc import cpm, froc, sensitivity_at, threshold_at
from medssl.metrics.matching import DUPLICATE, FALSE, HIT, Matched


def image(candidates, lesions, ignored=0):
    """Candidates as (score, lesion or None)."""
    ordered, seen = sorted(candidates, key=lambda one: -one[0]), set()
    verdicts = []
    for _, lesion in ordered:
        verdicts.append(FALSE if lesion is None else DUPLICATE if lesion in seen else HIT)
        seen.add(lesion)
    score = np.array([score for score, _ in ordered], dtype=float)
    return Matched(score, np.array(verdicts, int), np.full(len(ordered), -1), lesions, lesions + ignored == 0)


A = image([(0.9, 1), (0.8, 1), (0.7, None), (0.3, 2)], 2)
B = image([(0.95, None), (0.6, 3)], 1)
C = image([(0.5, None)], 0)
CLEAN = image([], 0)


def test_three_images():
    """Case F-A."""
    curve = froc([A, B, C])
    points = list(zip(curve.fp_per_image, curve.sensitivity, strict=True))
    thirds = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]
    assert points == [pytest.approx((a / 3, b / 3)) for a, b in thirds]
    assert sensitivity_at(curve) == pytest.approx([0, 0, 1 / 3, 1, 1, 1, 1])
    assert cpm(curve) == pytest.approx(13 / 21)
    assert cpm(curve, room.CAMELYON_RATES) == pytest.approx(13 / 18)
    assert threshold_at(curve, (0.1, 0.5, 1)) == [math.inf, 0.9, 0.3]
    assert (curve.images, curve.negatives, curve.lesions) == (3, 1, 3)
    assert curve.fp_per_negative.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_a_missed_lesion_counts():
    """Case F-B."""
    missed = B._replace(lesions=2)
    assert cpm(froc([A, missed, C])) == pytest.approx(13 / 28)


def test_equal_scores_are_one_threshold():
    """Case F-C: the step rule; 51/56 by interpolation is a point at which nobody can operate."""
    tied = [image([(0.8, 1), (0.4, None)], 1), image([(0.5, 2), (0.5, None)], 1)]
    assert cpm(froc(tied)) == pytest.approx(6 / 7)


def test_without_false_positives():
    """Case F-D."""
    assert sensitivity_at(froc([image([(0.8, 1)], 2)])) == [0.5] * 7


def test_negatives_move_the_score_either_way():
    """Case F-E."""
    assert cpm(froc([A, B, C, CLEAN, CLEAN, CLEAN])) == pytest.approx(16 / 21)
    noisy = image([(0.97, None), (0.97, None)], 0)
    assert cpm(froc([A, B, C, noisy, noisy, noisy])) == pytest.approx(3 / 7)


def test_duplicates_are_dropped_or_false():
    assert froc([A, B, C]).false[-1] == 3
    assert froc([A, B, C], "false").false[-1] == 4


def test_no_lesions_and_no_candidates():
    assert math.isnan(cpm(froc([C, CLEAN])))
    assert cpm(froc([image([], 2), CLEAN])) == 0
    assert threshold_at(froc([image([], 2)]), (1,)) == [math.inf]
    assert math.isnan(froc([A]).fp_per_negative[0])


def test_an_image_with_an_ignored_lesion_is_no_negative():
    assert froc([image([(0.5, None)], 0, ignored=1)]).negatives == 0


def test_the_curve_in_json():
    written = froc([A, B, C]).as_json()
    assert written["threshold"] == [0.95, 0.9, 0.7, 0.6, 0.5, 0.3]
    assert written["true"] == [0, 1, 1, 2, 2, 3]
    assert written["negatives"] == 1


def brute_force(images, rates):
    """Count at every threshold, over lists."""
    lesions = sum(one.lesions for one in images)
    thresholds = [*sorted({score for one in images for score in one.score.tolist()}), math.inf]
    found = []
    for rate in rates:
        best = 0.0
        for t in thresholds:
            pairs = [(s, v) for one in images for s, v in zip(one.score, one.verdict, strict=True) if s >= t]
            false = sum(v == FALSE for _, v in pairs)
            if false <= rate * len(images):
                best = max(best, sum(v == HIT for _, v in pairs) / lesions)
        found.append(best)
    return found


def random_image(rng, levels=8):
    lesions = int(rng.integers(0, 4))
    targets = [None, *range(lesions)]
    scores = rng.integers(1, levels, rng.integers(0, 6)) / levels
    return image([(score, targets[rng.integers(len(targets))]) for score in scores.tolist()], lesions)


def test_sensitivities_agree_with_counting():
    rng = np.random.default_rng(0)
    checked = 0
    while checked < 200:
        images = [random_image(rng) for _ in range(rng.integers(1, 7))]
        if sum(one.lesions for one in images):
            assert sensitivity_at(froc(images)) == pytest.approx(brute_force(images, room.RATES))
            checked += 1


def test_resampled_patients_are_images_counted_again():
    """A weight of 2 is the image twice: the weighted score equals that of the longer list."""
    rng = np.random.default_rng(1)
    images = [random_image(rng) for _ in range(12)]
    patients = [f"p{i // 2}" for i in range(12)]
    counts = room.by_patient(images, patients)
    weights = rng.multinomial(6, [1 / 6] * 6, size=40)
    found = room.weighted_cpm(counts, weights.astype(float))
    for weight, value in zip(weights, found, strict=True):
        again = [one for p, times in enumerate(weight) for one in images[2 * p : 2 * p + 2] * times]
        assert value == pytest.approx(cpm(froc(again)), nan_ok=True)


def test_interval_and_pseudo_values_are_round_the_score():
    rng = np.random.default_rng(2)
    images = [random_image(rng, 10_000) for _ in range(200)]
    counts = room.by_patient(images, range(200))
    interval = room.cpm_interval(counts, rng)
    assert interval.estimate == cpm(froc(images))
    assert interval.low < interval.estimate < interval.high
    pseudo = room.cpm_pseudo_values(counts)
    assert pseudo.mean() == pytest.approx(interval.estimate)
    half = 1.96 * pseudo.std(ddof=1) / math.sqrt(200)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.25)
