"""Lesion-wise counts, average precision, operating point, BraTS lesion-wise scores. Cases: localization.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from medssl.metrics import brats, detection_ap, lesion_counts
from medssl.metrics.lesion_counts import Counts
from medssl.metrics.lesions import Candidate, Findings, Lesion, Region
from medssl.metrics.matching import DUPLICATE, FALSE, HIT, Matched, Rule, match
from medssl.metrics.reference_lesions import components, from_classes


def ranked(verdicts, lesions, scores=None):
    """One image whose candidates, best first, are hits (1), false (0) or duplicates (2)."""
    score = np.linspace(0.9, 0.1, len(verdicts)) if scores is None else np.array(scores, dtype=float)
    names = np.array([(FALSE, HIT, DUPLICATE)[v] for v in verdicts], int)
    return Matched(score, names, np.full(len(score), -1), lesions, lesions == 0)


def strip(*runs):
    mask = np.zeros((1, 20), bool)
    for first, last in runs:
        mask[0, first : last + 1] = True
    return mask


def strips():
    truth, prediction = strip((0, 3), (6, 9), (14, 14)), strip((2, 7), (11, 12), (14, 15))
    candidates = tuple(Candidate("a", region, 1.0) for region in components(prediction))
    return Findings((1.0, 1.0), from_classes(truth.astype(int), ["a"]), candidates)


def test_a_component_on_two_lesions():
    """Case L1."""
    every = lesion_counts.any_overlap(strips())
    assert (every.found, every.lesions, every.matched, every.candidates) == (3, 3, 2, 3)
    assert every.f1 == pytest.approx(0.8)
    for threshold in (0.1, 0.25):
        one = lesion_counts.mask_counts(strips(), threshold)
        assert (one.found, one.false, one.missed) == (2, 1, 1)
        assert one.f1 == pytest.approx(2 / 3)
    strict = lesion_counts.mask_counts(strips(), 0.5)
    assert strict.found == 1
    assert strict.f1 == pytest.approx(1 / 3)


def test_counts_of_nothing():
    nothing = Counts(0, 0, 0, 0)
    assert all(math.isnan(value) for value in (nothing.sensitivity, nothing.precision, nothing.f1))
    assert Counts(2, 0, 0, 0).f1 == 0
    assert Counts(2, 0, 3, 0).f1 == 0
    assert math.isnan(Counts(0, 0, 3, 0).f1)
    assert lesion_counts.pooled([Counts(3, 3, 4, 3), Counts(1, 0, 0, 0), Counts(2, 1, 1, 1)]).sensitivity == 4 / 6


def test_any_overlap_drops_what_hits_ignored_lesions_alone():
    lesions = (Lesion("a", Region.of_box((0, 0), (2, 2)), ignore=True),)
    image = Findings((1, 1), lesions, (Candidate("a", Region.of_box((0, 0), (2, 2)), 1),))
    assert lesion_counts.any_overlap(image) == Counts(0, 0, 0, 0)


def test_coco_and_step_average_precision():
    """Cases AP1 and AP2."""
    first = [ranked([1, 0, 1, 0, 0, 1], 3)]
    assert detection_ap.average_precision(first) == pytest.approx(73 / 101)
    assert detection_ap.average_precision(first, "step") == pytest.approx(13 / 18)
    second = [ranked([1, 0, 1], 4)]
    assert detection_ap.average_precision(second) == pytest.approx(0.422442, abs=1e-6)
    assert detection_ap.average_precision(second, "step") == pytest.approx(0.416667, abs=1e-6)


def test_average_precision_of_nothing():
    assert math.isnan(detection_ap.average_precision([ranked([0, 0], 0)]))
    assert detection_ap.average_precision([ranked([], 3)]) == 0
    assert detection_ap.average_precision([ranked([1, 2], 1)]) == 1  # a duplicate after full recall


def slow_coco(images):
    """Interpolated precision at 101 recalls, straight from the definition, recalls compared as integers."""
    rows = [(s, v == HIT) for one in images for s, v in zip(one.score, one.verdict, strict=True)]
    lesions = sum(one.lesions for one in images)
    points, true = [], 0
    for rank, (_, hit) in enumerate(sorted(rows, key=lambda row: -row[0]), 1):
        true += int(hit)
        points.append((true, true / rank))
    best = [max((p for found, p in points if 100 * found >= i * lesions), default=0) for i in range(101)]
    return sum(best) / 101


def test_average_precision_agrees_with_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(200):
        images = []
        for _ in range(rng.integers(1, 4)):
            lesions = int(rng.integers(1, 5))
            verdicts = rng.permutation([1] * int(rng.integers(0, lesions + 1)) + [0, 0, 2])[: rng.integers(1, 8)]
            images.append(ranked(verdicts, lesions, np.sort(rng.random(len(verdicts)))[::-1]))
        assert detection_ap.average_precision(images) == pytest.approx(slow_coco(images))
        hits = np.concatenate([one.verdict == HIT for one in images])
        scores = np.concatenate([one.score for one in images])
        missed = sum(one.lesions for one in images) - hits.sum()
        # scikit-learn knows recall over the hits it is given: missed lesions scale it
        expected = average_precision_score(hits, scores) * hits.sum() / (hits.sum() + missed) if hits.any() else 0
        assert detection_ap.average_precision(images, "step") == pytest.approx(expected)


def test_recalls_that_are_hundredths_are_reached():
    """With 100 lesions each recall of COCO is that of a hit: none may be missed by rounding."""
    images = [ranked([1, 0] * 100, 100)]
    assert detection_ap.average_precision(images) == pytest.approx(slow_coco(images), abs=1e-12)


def test_precision_of_classes_leaves_absent_ones_nan():
    square = Region.of_box((0, 0), (4, 4))
    image = Findings((1, 1), (Lesion("a", square),), (Candidate("a", square, 0.9), Candidate("b", square, 0.9)))
    found = detection_ap.class_precisions([image], ["a", "b"], detection_ap.NNDETECTION)
    assert found["a"] == 1
    assert math.isnan(found["b"])


def test_operating_point_is_chosen_and_then_fixed():
    validation = [ranked([1, 0, 1, 0, 0], 2, [0.9, 0.8, 0.7, 0.6, 0.5]), ranked([0], 0, [0.65])]
    best = lesion_counts.operating_point(validation)
    assert best.threshold == 0.7
    assert best.chosen_on == Counts(2, 2, 3, 2)
    few = lesion_counts.operating_point(validation, "fp", 0.5)
    assert (few.threshold, few.chosen_on.false) == (0.7, 1)
    test = ranked([1, 2, 0], 3, [0.9, 0.75, 0.6])
    counted = lesion_counts.one_to_one(test, best.threshold)
    assert (counted.found, counted.false, counted.missed) == (1, 1, 2)
    assert counted.as_json()["precision"] == 0.5


def test_no_candidate_is_accepted_where_all_are_false():
    none = lesion_counts.operating_point([ranked([0, 0], 1)])
    assert none.threshold == math.inf
    assert none.chosen_on == Counts(1, 0, 0, 0)


def test_brats_lesion_wise_scores():
    """Case L2."""
    truth, prediction = np.zeros((40, 40, 40), bool), np.zeros((40, 40, 40), bool)
    truth[2:6, 2:6, 2:6] = truth[20:26, 20:26, 20:26] = truth[34:36, 34:36, 34:36] = True
    prediction[2:6, 2:6, 2:4] = prediction[20:26, 20:26, 20:26] = prediction[30:34, 2:6, 2:6] = True
    found = brats.lesion_wise(prediction, truth, (1, 1, 1), dilations=1)
    assert found.dice == pytest.approx(0.555556, abs=1e-6)
    assert found.hd95 == pytest.approx(125.3333, abs=1e-4)
    assert (found.lesions, found.false) == (2, 1)
    whole = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    assert whole == pytest.approx(0.826667, abs=1e-6)
    missed = brats.lesion_wise(np.zeros_like(truth), truth, (1, 1, 1), dilations=1)
    assert missed == (0, 374, 2, 0)
    assert brats.lesion_wise(~truth & False, ~truth & False, (1, 1, 1)) == (1, 0, 0, 0)


def test_brats_leaves_out_lesions_of_the_least_volume():
    truth = np.zeros((12, 12, 12), bool)
    truth[1:5, 1:5, 1:5] = True
    assert brats.lesion_wise(truth, truth, (1, 1, 1), least_mm3=64) == (1, 0, 0, 0)
    assert brats.lesion_wise(truth, truth, (1, 1, 1), least_mm3=63).lesions == 1


def test_brats_joins_lesions_whose_dilations_touch():
    truth = np.zeros((20, 12, 12), bool)
    truth[2:6, 2:6, 2:6] = truth[10:14, 2:6, 2:6] = True  # four voxels apart
    assert brats.lesion_wise(truth, truth, (1, 1, 1), dilations=1).lesions == 2
    assert brats.lesion_wise(truth, truth, (1, 1, 1), dilations=3).lesions == 1


def test_matching_and_counts_work_together():
    image = strips()
    found = match(image, Rule("overlap"))
    assert sorted(found.verdict.tolist()) == [HIT, HIT, FALSE]
