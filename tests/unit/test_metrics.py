from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.metrics import classification, prior, segmentation


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


def test_surface_of_empty_masks():
    empty, full = np.zeros((3, 4), int), np.ones((3, 4), int)
    (neither,) = segmentation.surface(empty, empty, 1, (1.0, 1.0), 1.0)
    assert math.isnan(neither.hd95)
    assert math.isnan(neither.nsd)
    (one,) = segmentation.surface(empty, full, 1, (1.0, 1.0), 1.0)
    assert one.hd95 == pytest.approx(5.0)  # diagonal of 3 x 4 mm
    assert one.nsd == 0


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
