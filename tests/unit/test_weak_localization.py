"""Boxes from activation maps, box accuracy, floors, pointing game, pixel scores, ladder. Cases: localization.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from sklearn.metrics import average_precision_score

from medssl.metrics import candidates, heat_maps, weak_boxes
from medssl.metrics.lesions import Candidate, Findings, Lesion, Region


def upsampled(heat, size):
    tensor = torch.tensor(heat, dtype=torch.float64)[None, None]
    return torch.nn.functional.interpolate(tensor, size, mode="bilinear", align_corners=False)[0, 0].numpy()


def corners(candidate):
    return [*candidate.region.start, *candidate.region.stop]


C1 = upsampled([[0, 0, 0, 0], [0, 1, 0.6, 0], [0, 0.5, 0.2, 0], [0, 0, 0, 0]], (8, 8))


@pytest.mark.parametrize(
    ("share", "where"), [(0.2, [1, 1, 6, 6]), (0.3, [2, 2, 6, 6]), (0.5, [2, 2, 5, 5]), (0.7, [2, 2, 4, 5])]
)
def test_boxes_of_an_upsampled_map_are_relative_to_its_own_peak(share, where):
    """Case C1."""
    assert C1.max() == 0.78125
    assert np.unravel_index(C1.argmax(), C1.shape) == (3, 3)
    (found,) = candidates.of_heat(C1, "a", share)
    assert corners(found) == where


def test_otsu_where_no_threshold_was_chosen():
    """Case C1."""
    assert threshold_otsu(C1 / C1.max()) == pytest.approx(0.3613, abs=1e-4)
    (found,) = candidates.of_heat(C1, "a")
    (same,) = candidates.of_heat(C1, "a", 0.3613)
    np.testing.assert_array_equal(found.region.mask, same.region.mask)
    assert corners(found) == corners(same)


def two_blobs():
    heat = np.zeros((10, 10))
    heat[1:4, 1:4], heat[6:9, 6:9] = 0.6, 1
    heat[8, 8] = 0.5
    return heat


def test_the_hottest_box_and_any_box():
    """Case C2."""
    found = candidates.of_heat(two_blobs(), "a", 0.4)
    assert [(corners(one), one.score) for one in found] == [([6, 6, 9, 9], 1), ([1, 1, 4, 4], 0.6)]
    assert len(candidates.of_heat(two_blobs(), "a", 0.7)) == 1
    assert candidates.of_heat(two_blobs(), "a", 0.4, scale=0.5, most=1)[0].score == 0.5
    lesions = (Lesion("a", Region.of_box((0, 0), (5, 5))),)
    image = Findings((1, 1), lesions, found, (10, 10))
    np.testing.assert_allclose(weak_boxes.overlap(found, lesions, "iou")[:, 0], [0, 0.36])
    union = (Candidate("a", Region.of_box((1, 1), (9, 9)), 1),)
    assert weak_boxes.overlap(union, lesions, "iou")[0, 0] == pytest.approx(0.219, abs=1e-3)
    assert weak_boxes.box_accuracy([image], 0.3).accuracy == 0
    anyone = weak_boxes.box_accuracy([image], 0.3, which="any")
    assert (anyone.accuracy, anyone.false_per_image) == (1, 1)


def test_box_accuracy_over_thresholds_of_the_map():
    """Case C3."""
    maps = [
        ([[0, 0, 0, 0], [0, 1, 0.4, 0], [0, 0.4, 0.4, 0], [0, 0, 0, 0]], ((1, 1), (3, 3))),
        ([[0.3, 0.3, 0, 0], [0.3, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.6]], ((0, 0), (2, 2))),
    ]
    ious, accuracy = {}, {}
    for share in (0.2, 0.35, 0.5):
        images = []
        for heat, truth in maps:
            found = candidates.of_heat(np.array(heat, dtype=float), "a", share)
            largest = max(found, key=lambda one: one.region.size)
            images.append(Findings((1, 1), (Lesion("a", Region.of_box(*truth)),), (largest,)))
        ious[share] = [weak_boxes.overlap(one.candidates, one.lesions, "iou").item() for one in images]
        accuracy[share] = weak_boxes.box_accuracy(images, 0.5, strict=False).accuracy
    assert ious == {0.2: [1, 1], 0.35: [1, 0.25], 0.5: [0.25, 0.25]}
    assert accuracy == {0.2: 1, 0.35: 0.5, 0.5: 0}


def test_accuracy_is_strict_as_published():
    image = Findings(
        (1, 1), (Lesion("a", Region.of_box((2, 2), (6, 6))),), (Candidate("a", Region.of_box((2, 2), (10, 6)), 1),)
    )
    assert weak_boxes.box_accuracy([image], 0.5).accuracy == 0
    assert weak_boxes.box_accuracy([image], 0.5, strict=False).accuracy == 1
    assert weak_boxes.box_accuracy([image], 0.25, "iobb").accuracy == 1
    assert math.isnan(weak_boxes.box_accuracy([Findings((1, 1))], 0.5).accuracy)


def test_an_empty_map_has_no_candidate():
    assert candidates.of_heat(np.zeros((4, 4)), "a", 0.2) == ()
    assert candidates.of_heat(np.zeros((4, 4)), "a") == ()


def test_small_components_are_left_out():
    assert [corners(one) for one in candidates.of_heat(two_blobs(), "a", 0.55, least_share=0.085)] == [[1, 1, 4, 4]]


def image_with(start, stop, shape=(10, 10)):
    return Findings((1, 1), (Lesion("a", Region.of_box(start, stop)),), (), shape)


def test_floors():
    images = [image_with((0, 0), (5, 5)), image_with((0, 0), (5, 5)), image_with((0, 0), (10, 4), (20, 8))]
    images.append(image_with((8, 8), (10, 10)))
    fixed = weak_boxes.fixed_box(images, ["a", "b", "c", "d"])
    assert [corners(one.candidates[0]) for one in fixed[1:]] == [[0, 0, 5, 5], [0, 0, 10, 4], [0, 0, 5, 5]]
    assert weak_boxes.box_accuracy(fixed, 0.5).accuracy == 3 / 4
    alone = weak_boxes.fixed_box(images, ["a", "a", "a", "a"])
    assert not any(one.candidates for one in alone)  # no other patient to learn from
    whole = [weak_boxes.whole_image(one) for one in images]
    assert weak_boxes.box_accuracy(whole, 0.2).accuracy == 3 / 4
    assert [weak_boxes.random_pointing(one) for one in images] == [0.25, 0.25, 0.25, 0.04]


P1_TRUTH = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
P1 = np.array([[0.9, 0.6, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.3, 0.8], [0.1, 0.1, 0.1, 0.1]])


def test_pixel_scores():
    """Case P1."""
    assert heat_maps.pixel_auc([P1], [P1_TRUTH]) == pytest.approx(38 / 39)
    assert heat_maps.pixel_ap([P1], [P1_TRUTH]) == pytest.approx(11 / 12)
    assert heat_maps.aupro([P1], [P1_TRUTH]) == pytest.approx(73 / 78)
    assert heat_maps.aupro([P1], [P1_TRUTH], to=1) == pytest.approx(51 / 52)
    halves = [P1[:2], P1[2:]], [P1_TRUTH[:2], P1_TRUTH[2:]]
    assert heat_maps.pixel_ap(*halves) == average_precision_score(P1_TRUTH.ravel(), P1.ravel())
    assert heat_maps.aupro(*halves) == pytest.approx(73 / 78)


def test_pixel_scores_without_both_kinds_of_voxel():
    empty = np.zeros((2, 2), bool)
    for score in (heat_maps.pixel_auc, heat_maps.pixel_ap, heat_maps.aupro):
        assert math.isnan(score([np.ones((2, 2))], [empty]))
        assert math.isnan(score([np.ones((2, 2))], [~empty]))


def test_a_map_that_says_nothing_has_half_the_overlap():
    assert heat_maps.aupro([np.ones((4, 4))], [P1_TRUTH], to=1) == pytest.approx(0.5)


def test_pointing_game():
    assert heat_maps.pointing(P1, P1_TRUTH) == 1
    assert heat_maps.pointing(P1, ~P1_TRUTH) == 0
    assert math.isnan(heat_maps.pointing(P1, np.zeros_like(P1_TRUTH)))
    assert heat_maps.pointing(np.zeros((4, 4)), np.ones((4, 4), bool)) == 0
    far = np.zeros((4, 4), bool)
    far[0, 2] = True  # two columns of 3 mm from the peak
    assert heat_maps.pointing(P1, far, (1.0, 3.0), within_mm=5.9) == 0
    assert heat_maps.pointing(P1, far, (1.0, 3.0), within_mm=6.0) == 1
    tied = np.zeros((4, 4))
    tied[0, 1] = tied[3, 3] = 1
    assert heat_maps.pointing(tied, P1_TRUTH) == 1  # the first in C order


def test_ladder_keeps_what_a_flat_threshold_would_join():
    """Case LD1."""
    p = np.array([[0, 0.1, 0.9, 0.8, 0.1, 0, 0.3, 0.35, 0.15, 0, 0.6, 0.2, 0.55, 0]])
    found = candidates.ladder(p, "a")
    columns = [np.flatnonzero(one.region.mask[0]) + one.region.start[1] for one in found]
    assert [(c.tolist(), one.score) for c, one in zip(columns, found, strict=True)] == [
        ([2, 3], 0.9),
        ([10], 0.6),
        ([12], 0.55),
        ([6, 7], 0.35),
    ]
    assert len(candidates.ladder(p, "a", thresholds=[0.1])) == 3
    assert len(candidates.ladder(p, "a", most=2)) == 2
    assert [one.score for one in candidates.ladder(p, "a", least=2)] == [0.9, 0.35]
    assert candidates.ladder(p, "a", score="mean")[0].score == pytest.approx(0.85)


def test_ladder_of_random_maps_parts_all_that_is_above_the_first_threshold():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random((9, 9, 9)) ** 3
        found = candidates.ladder(p, "a", most=None)
        covered = np.zeros(p.shape, int)
        for one in found:
            covered[tuple(slice(a, b) for a, b in zip(one.region.start, one.region.stop, strict=True))] += (
                one.region.mask
            )
        assert covered.max() == 1
        assert (covered[p >= 0.5] == 1).all()
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
