from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medssl.metrics import calibration, classification, prior, segmentation


def test_dice_hand_case():
    prediction, label = np.zeros((2, 4, 4), int), np.zeros((2, 4, 4), int)
    prediction[0, 0, :3], label[0, 0, 1:] = 1, 1  # 3 and 3 voxels, 2 shared
    label[1, 0, 0] = 2  # missed
    one, two, three = segmentation.dice(prediction, label, 3)
    assert one == pytest.approx(2 * 2 / 6)
    assert two == 0
    assert math.isnan(three)


def test_surface_of_shifted_cubes():
    prediction, label = np.zeros((20, 20, 20), int), np.zeros((20, 20, 20), int)
    label[5:15, 5:15, 5:15] = 1
    prediction[7:17, 5:15, 5:15] = 1
    (near,) = segmentation.surface(prediction, label, 1, (1.0, 1.0, 1.0), tolerance=2.0)
    assert near.hd95 == pytest.approx(2.0)
    assert near.nsd == pytest.approx(1.0)
    (far,) = segmentation.surface(prediction, label, 1, (3.0, 1.0, 1.0), tolerance=2.0)
    assert far.hd95 == pytest.approx(6.0)
    assert far.nsd < 0.8


def test_the_reference_alone_says_that_a_class_is_absent():
    """Else one network is averaged over more cases than another: one false voxel would make a NaN a 0."""
    empty, full = np.zeros((3, 4), int), np.ones((3, 4), int)
    for prediction in (empty, full):
        assert math.isnan(segmentation.dice(prediction, empty, 1)[0])
        (absent,) = segmentation.surface(prediction, empty, 1, (1.0, 1.0), 1.0)
        assert math.isnan(absent.hd95)
        assert math.isnan(absent.nsd)
    (missed,) = segmentation.surface(empty, full, 1, (1.0, 1.0), 1.0)
    assert missed == (5.0, 0.0)  # the diagonal of 3 x 4 mm
    assert segmentation.dice(empty, full, 1) == [0]


def test_what_is_predicted_of_an_absent_class_is_told_apart():
    prediction, label = np.zeros((4, 4, 4), int), np.zeros((4, 4, 4), int)
    prediction[0, 0, :2], prediction[3, 3, 3], label[1] = 1, 1, 2
    one, two, three = segmentation.false_alarms(prediction, label, 3, (5.0, 10.0, 2.0))
    assert one == (3, pytest.approx(0.3), 2)  # 3 voxels of 100 mm3, in two components
    assert two is None
    assert three == (0, 0, 0)
    (flat,) = segmentation.false_alarms(np.ones((2, 2), int), np.zeros((2, 2), int), 1, (2.0, 3.0))
    assert flat.volume == 24  # mm2


A1_TRUTH, A1 = np.array([0, 0, 1, 1, 1, 0]), np.array([0.1, 0.4, 0.4, 0.8, 0.9, 0.8])


def test_auc_with_ties_and_its_error():
    """Case A1."""
    assert classification.auc(A1[:, None], A1_TRUTH[:, None]) == [pytest.approx(7 / 9)]
    assert classification.average_precision(A1[:, None], A1_TRUTH[:, None]) == [pytest.approx(34 / 45)]
    found = classification.delong(A1, A1_TRUTH)
    assert found.auc == pytest.approx(7 / 9)
    assert found.standard_error == pytest.approx(0.207870, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.2489, 0.9737), abs=1e-4)
    parted = classification.delong(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
    assert parted.auc == 1
    assert math.isnan(parted.low)
    assert math.isnan(classification.delong(np.array([0.1, 0.2]), np.array([0, 1])).standard_error)


def test_auc_and_precision_agree_with_their_definitions():
    rng = np.random.default_rng(4)
    checked = 0
    while checked < 200:
        n = int(rng.integers(2, 25))
        score, truth = rng.integers(0, 8, n) / 8, rng.random(n) < rng.uniform(0.2, 0.8)
        if not 0 < truth.sum() < n:
            continue
        pairs = [(p > q) + 0.5 * (p == q) for p in score[truth] for q in score[~truth]]
        assert classification.auc(score[:, None], truth[:, None])[0] == pytest.approx(np.mean(pairs))
        area, recall = 0.0, 0.0
        for threshold in sorted(set(score.tolist()), reverse=True):
            reached = score >= threshold
            gained = truth[reached].sum() / truth.sum()
            area, recall = area + (gained - recall) * truth[reached].mean(), gained
        assert classification.average_precision(score[:, None], truth[:, None])[0] == pytest.approx(area)
        assert area == pytest.approx(average_precision_score(truth, score))
        checked += 1


def test_which_classes_count_is_fixed_by_the_whole_truth():
    truth = np.zeros((12, 3), int)
    truth[:5, 0] = truth[:8, 1] = truth[:4, 2] = 1
    assert classification.countable(truth) == [0]
    assert classification.countable(truth, 4) == [0, 1, 2]
    assert classification.countable(truth[4:9]) == [0, 1]  # none has five of both: those with both at all
    assert classification.countable(np.zeros((3, 2), int)) == []


E1 = np.array([0.95, 0.95, 0.85, 0.75, 0.75, 0.35, 0.25, 0.15, 0.05, 0.05])
E1_TRUTH = np.array([1, 1, 0, 1, 0, 1, 0, 0, 0, 0])


def test_calibration_of_ten_cases():
    """Case E1."""
    assert calibration.calibration_error(E1, E1_TRUTH, 10) == pytest.approx(0.26, abs=1e-6)
    both = np.stack([1 - E1, E1], 1)
    for bins in (10, 15):
        assert calibration.top_label_error(both, E1_TRUTH, bins) == pytest.approx(0.18, abs=1e-6)
    assert calibration.brier(E1, E1_TRUTH) == pytest.approx(0.1865)
    assert math.isnan(calibration.brier(np.array([]), np.array([])))
    assert math.isnan(calibration.calibration_error(np.array([]), np.array([])))


def test_calibration_agrees_with_bins_counted_one_by_one():
    rng = np.random.default_rng(5)
    for _ in range(50):
        p, y, bins = rng.random(30), rng.random(30) < 0.5, int(rng.integers(1, 20))
        number = np.ceil(p * bins)  # right-closed
        expected = sum(abs(y[number == b].mean() - p[number == b].mean()) * (number == b).mean() for b in set(number))
        assert calibration.calibration_error(p, y, bins) == pytest.approx(expected, abs=1e-5)


def test_auc_counts_pairs():
    rng = np.random.default_rng(0)
    probability, truth = rng.random(60), rng.random(60) < 0.4
    pairs = [(p > n) + 0.5 * (p == n) for p in probability[truth] for n in probability[~truth]]
    found = classification.auc(np.stack([probability, -probability], 1), np.stack([truth, truth], 1))
    assert found == pytest.approx([np.mean(pairs), 1 - np.mean(pairs)])
    tied = probability.round(1)
    (ours,) = classification.auc(tied[:, None], truth[:, None])
    assert ours == pytest.approx(roc_auc_score(truth, tied))


def test_auc_without_both_classes_is_nan():
    ranked = np.array([[0.1], [0.2]])
    assert math.isnan(classification.auc(ranked, np.array([[1], [1]]))[0])
    assert math.isnan(classification.average_precision(ranked, np.array([[0], [0]]))[0])


def test_balanced_accuracy_hand_case():
    truth, predicted = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 0])
    assert classification.balanced_accuracy(predicted, truth) == 0.5


def test_prior_of_equal_labels_is_the_label():
    label = np.zeros((8, 10), int)
    label[2:6, 3:8], label[5, 3:5] = 1, 2
    fitted = prior.fit([label] * 3, 2)
    np.testing.assert_array_equal(fitted.predict((8, 10)), label)
    assert fitted.predict((16, 20)).shape == (16, 20)


def test_prior_takes_the_most_frequent_class():
    ones = np.ones((4, 4), int)
    fitted = prior.fit([ones, ones, 2 * ones], 2)
    assert (fitted.predict((4, 4)) == 1).all()
    assert fitted.share.sum() == pytest.approx(16)
