"""Lesions, candidates and their way through JSON; hit rules and greedy matching. Cases are those of localization.md."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medssl.metrics import reference_lesions, run_lengths
from medssl.metrics.candidates import ladder
from medssl.metrics.detection_ap import average_precision
from medssl.metrics.froc import froc
from medssl.metrics.lesion_counts import one_to_one
from medssl.metrics.lesions import Candidate, Findings, Lesion, Region
from medssl.metrics.matching import DUPLICATE, FALSE, HIT, IGNORED, Rule, agreements, match
from medssl.metrics.weak_boxes import overlap


def box(top, left, bottom, right):
    return Region.of_box((top, left), (bottom, right))


def boxes(lesions, candidates, spacing=(1.0, 1.0)):
    """Findings of one class: boxes of lesions, (score, box) of candidates."""
    found = tuple(Candidate("a", box(*where), score) for score, where in candidates)
    return Findings(spacing, tuple(Lesion("a", box(*where)) for where in lesions), found)


def blob(rng, shape):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + rng.integers(1, 5)) for a in rng.integers(0, 4, len(shape)))] = True
    return mask & (rng.random(shape) < 0.8) | (np.arange(mask.size).reshape(shape) == rng.integers(mask.size))


def test_greedy_matching_of_two_lesions_and_two_candidates():
    """Case M1."""
    image = boxes([(0, 0, 10, 10), (0, 6, 10, 16)], [(0.9, (0, 2, 10, 12)), (0.8, (0, 0, 10, 9))])
    np.testing.assert_allclose(agreements(image, Rule("iou", 0.1)), [[0.6667, 0.4286], [0.9, 0.1875]], atol=5e-5)
    assert match(image, Rule("iou", 0.1)).verdict.tolist() == [HIT, HIT]
    for threshold in (0.3, 0.5):
        found = match(image, Rule("iou", threshold))
        assert found.verdict.tolist() == [HIT, DUPLICATE]  # a false positive where COCO counts
        assert found.score[0] == 0.9
        assert found.counted("false")[1].tolist() == [True, False]
        assert found.counted("drop")[1].tolist() == [True]


B1 = [
    ((2, 2, 10, 6), 0.5, 0.5),
    ((3, 3, 5, 5), 0.25, 1),
    ((0, 0, 16, 16), 0.0625, 0.0625),
    ((6, 2, 10, 6), 0, 0),
    ((4, 4, 8, 8), 1 / 7, 0.25),
]


@pytest.mark.parametrize(("where", "iou", "iobb"), B1)
def test_overlap_of_boxes(where, iou, iobb):
    """Case B1."""
    image = boxes([(2, 2, 6, 6)], [(1, where)])
    assert overlap(image.candidates, image.lesions, "iou")[0, 0] == pytest.approx(iou)
    assert overlap(image.candidates, image.lesions, "iobb")[0, 0] == pytest.approx(iobb)
    assert np.isfinite(agreements(image, Rule("overlap"))).item() == (iou > 0)
    for threshold in (0.1, 0.25, 0.5):
        assert np.isfinite(agreements(image, Rule("iou", threshold))).item() == (iou >= threshold)
        assert np.isfinite(agreements(image, Rule("iobb", threshold))).item() == (iobb > threshold)


def test_masks_overlap_voxel_by_voxel_and_boxes_where_one_has_no_mask():
    diagonal = np.eye(4, dtype=bool)
    lesion = Lesion("a", Region.of_mask(diagonal))
    other = Candidate("a", Region.of_mask(diagonal[::-1]), 1)
    image = Findings((1, 1), (lesion,), (other, Candidate("a", box(0, 0, 4, 4), 0.9)))
    assert agreements(image, Rule("overlap"))[:, 0].tolist() == [-math.inf, 1]


@pytest.mark.parametrize("dims", [2, 3])
def test_iou_of_masks_is_that_of_whole_images(dims):
    rng = np.random.default_rng(dims)
    for _ in range(50):
        one, other = blob(rng, (7,) * dims), blob(rng, (7,) * dims)
        image = Findings((1,) * dims, (Lesion("a", Region.of_mask(one)),), (Candidate("a", Region.of_mask(other), 1),))
        found = agreements(image, Rule("iou", 0.0))[0, 0]
        expected = (one & other).sum() / (one | other).sum()
        assert found == (pytest.approx(expected) if expected else -math.inf)


def test_centre_lies_in_mask_or_box():
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    lesions = (Lesion("a", Region.of_mask(ring)), Lesion("b", box(0, 0, 5, 5)))
    middle, corner = Region.of_point((2.0, 2.4)), Region.of_point((0.4, 4.4))
    candidates = tuple(Candidate("a", where, 1) for where in (middle, corner, Region.of_point((4.6, 0))))
    hits = np.isfinite(agreements(Findings((1, 1), lesions, candidates), Rule("centre")))
    assert hits.tolist() == [[False, True], [True, True], [False, False]]


def test_distance_is_strict_and_in_mm():
    lesion = reference_lesions.from_point("nodule", (10, 10, 10), 6.0, (3.0, 1.0, 1.0))
    near = [(10, 12.9, 10), (10, 13, 10), (10.9, 10, 10), (11, 10, 10)]
    candidates = tuple(Candidate("nodule", Region.of_point(where), 1) for where in near)
    hits = np.isfinite(agreements(Findings((3.0, 1.0, 1.0), (lesion,), candidates), Rule("distance")))
    assert hits[:, 0].tolist() == [True, False, True, False]
    assert reference_lesions.from_point("nodule", (0, 0, 0), -1, (1, 1, 1)).diameter_mm == 10
    assert lesion.region.size == pytest.approx(6 * 6 * 6 / 3)


def test_a_lesion_without_a_diameter_has_its_longest_side():
    image = Findings((1.0, 2.0), (Lesion("a", box(0, 0, 4, 4)),), (Candidate("a", Region.of_point((1.5, 3.4)), 1),))
    assert np.isfinite(agreements(image, Rule("distance"))).all()  # 3.8 mm away, half of 8 mm


def test_points_have_no_overlap():
    image = Findings((1, 1), (Lesion("a", Region.of_point((1, 1))),), (Candidate("a", box(0, 0, 2, 2), 1),))
    for kind in ("iou", "overlap", "iobb", "centre", "distance"):
        with pytest.raises(ValueError, match="point"):
            match(image, Rule(kind))


def test_what_hits_only_an_ignored_lesion_is_dropped():
    """Case F-F."""
    lesions = (Lesion("a", box(0, 0, 4, 4), ignore=True), Lesion("a", box(6, 6, 9, 9)))
    places = [(0.9, box(0, 0, 4, 4)), (0.8, box(0, 0, 4, 3)), (0.7, box(6, 6, 9, 9)), (0.6, box(11, 11, 12, 12))]
    candidates = tuple(Candidate("a", where, score) for score, where in places)
    found = match(Findings((1, 1), lesions, candidates), Rule("iou", 0.5))
    assert found.verdict.tolist() == [IGNORED, IGNORED, HIT, FALSE]
    assert found.lesions == 1
    assert not found.negative


def test_a_candidate_on_a_found_and_an_ignored_lesion_is_ignored():
    lesions = (Lesion("a", box(0, 0, 4, 4)), Lesion("a", box(0, 4, 4, 8), ignore=True))
    candidates = (Candidate("a", box(0, 0, 4, 4), 0.9), Candidate("a", box(0, 0, 4, 8), 0.8))
    assert match(Findings((1, 1), lesions, candidates), Rule("iou", 0.5)).verdict.tolist() == [HIT, IGNORED]


def test_equal_scores_do_not_depend_on_the_order_of_the_list():
    """The candidate that agrees more goes first: the other way round it would find its lesion taken."""
    candidates = [(0.5, (0, 2, 10, 12)), (0.5, (0, 0, 10, 9))]
    for given in (candidates, candidates[::-1]):
        found = match(boxes([(0, 0, 10, 10), (0, 6, 10, 16)], given), Rule("iou", 0.3))
        assert found.verdict.tolist() == [HIT, HIT]
        assert found.lesion.tolist() == [0, 1]
    assert len(match(boxes([(0, 0, 10, 10)], candidates), Rule("iou", 0.3), most=1).score) == 1


def brute_force_match(image, threshold):
    """Greedy matching with sets of voxels."""

    def voxels(region):
        (a, b), (c, d) = region.start, region.stop
        return {(i, j) for i in range(a, c) for j in range(b, d)}

    lesions = [voxels(lesion.region) for lesion in image.lesions]
    free, verdicts = set(range(len(lesions))), []
    for candidate in sorted(image.candidates, key=lambda one: -one.score):
        own = voxels(candidate.region)
        ious = {k: len(own & other) / len(own | other) for k, other in enumerate(lesions)}
        hits = {k: iou for k, iou in ious.items() if iou >= threshold}
        open_hits = {k: iou for k, iou in hits.items() if k in free}
        if open_hits:
            free.remove(max(open_hits, key=open_hits.get))
        verdicts.append(HIT if open_hits else DUPLICATE if hits else FALSE)
    return verdicts


def random_boxes(rng, count):
    start = rng.integers(0, 9, (count, 2))
    return [(*a, *(a + rng.integers(2, 7, 2))) for a in start.tolist()]


def test_matching_agrees_with_sets_of_voxels():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = rng.permutation(20)[: rng.integers(0, 7)] / 20
        candidates = list(zip(scores.tolist(), random_boxes(rng, len(scores)), strict=True))
        image = boxes(random_boxes(rng, rng.integers(0, 5)), candidates)
        assert match(image, Rule("iou", 0.2)).verdict.tolist() == brute_force_match(image, 0.2)


def test_masks_as_text():
    assert run_lengths.encode(np.array([[0, 1], [1, 0]])) == "1 2 1"
    assert run_lengths.encode(np.array([[1, 1]])) == "0 2"
    with pytest.raises(ValueError, match="do not fill"):
        run_lengths.decode("1 2", (2, 2))


@pytest.mark.parametrize("dims", [2, 3])
def test_findings_survive_json(dims):
    rng = np.random.default_rng(1)
    masks = [blob(rng, (6,) * dims) for _ in range(4)]
    lesions = (
        Lesion("a", Region.of_mask(masks[0]), ignore=True),
        Lesion("b", Region.of_box((0.5,) * dims, (3.25,) * dims), diameter_mm=4.0),
        Lesion("b", Region.of_point((2.0,) * dims), diameter_mm=3.0),
    )
    candidates = tuple(Candidate("a", Region.of_mask(mask, (3,) * dims), 0.1 * i) for i, mask in enumerate(masks))
    image = Findings((2.0, 0.5, 1.5)[:dims], lesions, candidates, (20,) * dims)
    text = json.dumps({"id": "x", **image.as_json()})
    again = Findings.from_json(json.loads(text))
    assert json.dumps({"id": "x", **again.as_json()}) == text
    np.testing.assert_allclose(agreements(again, Rule("distance")), agreements(image, Rule("distance")), atol=1e-3)
    for one, other in zip(again.candidates, image.candidates, strict=True):
        np.testing.assert_array_equal(one.region.mask, other.region.mask)
        assert one.region.start == other.region.start


@pytest.mark.parametrize("rule", [Rule("centre"), Rule("distance"), Rule("iou", 0.1), Rule("overlap"), Rule("iobb")])
def test_scores_follow_from_the_rows_alone(rule):
    """Maps to candidates to JSON and back: the same curve, average precision and counts as before it."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(12):
        heat = ndimage.gaussian_filter(rng.random((3, 24, 24)), (0.5, 1.5, 1.5))
        heat = (heat - heat.min()) / (heat.max() - heat.min())
        truth = ndimage.gaussian_filter(heat + rng.normal(0, 0.3, heat.shape), 1) > rng.uniform(0.6, 0.8)
        lesions = reference_lesions.from_classes(truth.astype(int), ["a"])
        images.append(Findings((3.0, 1.0, 1.0), lesions, ladder(heat, "a"), heat.shape))
    again = [Findings.from_json(json.loads(json.dumps(image.as_json()))) for image in images]
    before, after = ([match(image, rule) for image in kind] for kind in (images, again))
    assert froc(after).as_json() == froc(before).as_json()
    assert 0 < froc(before).true[-1] < froc(before).true[-1] + froc(before).false[-1]
    assert average_precision(after) == average_precision(before)
    assert [one_to_one(one, 0.5) for one in after] == [one_to_one(one, 0.5) for one in before]


def test_the_example_of_the_docs_is_what_is_written():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    row = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    image = Findings.from_json(row)
    assert image.as_json() == row
    assert image.candidates[0].region.mask.tolist() == [[True, True], [True, True], [False, True]]


def test_classes_and_scores_are_chosen():
    lesions = (Lesion("a", box(0, 0, 1, 1)), Lesion("b", box(0, 0, 1, 1)))
    image = Findings((1, 1), lesions, (Candidate("a", box(0, 0, 1, 1), 0.5),))
    assert [lesion.label for lesion in image.of_class("b").lesions] == ["b"]
    assert not image.of_class("b").candidates
    assert len(image.above(0.5).candidates) == 1
    assert not image.above(0.51).candidates


def test_bad_regions_are_refused():
    with pytest.raises(ValueError, match="must be below its stop on every axis"):
        box(3, 3, 3, 5)
    with pytest.raises(ValueError, match="without true voxels"):
        Region.of_mask(np.zeros((3, 3)))


@pytest.mark.parametrize(("steps", "lesions"), [((0, 1, 1), {1: 2, 2: 1, 3: 1}), ((1, 1, 1), {1: 2, 2: 2, 3: 1})])
def test_connectivity(steps, lesions):
    """Case L3: two voxels that touch at an edge, and at a corner: one lesion for 18 and 26, or for 26 alone."""
    mask = np.zeros((4, 4, 4), int)
    mask[1, 1, 1] = mask[tuple(1 + step for step in steps)] = 1
    for connectivity, count in lesions.items():
        assert len(reference_lesions.from_classes(mask, ["a"], connectivity)) == count
    assert len(reference_lesions.from_classes(mask, ["a"])) == 1


def test_lesions_of_classes_and_instances():
    mask = np.array([[1, 0, 2, 2], [0, 0, 0, 0], [7, 0, 0, 1]])
    of_classes = reference_lesions.from_classes(np.where(mask == 7, 1, mask), ["a", "b"])
    assert [(one.label, one.region.start, one.region.size) for one in of_classes] == [
        ("a", (0, 0), 1),
        ("a", (2, 0), 1),
        ("a", (2, 3), 1),
        ("b", (0, 2), 2),
    ]
    of_instances = reference_lesions.from_instances(mask, {1: "a", 2: "b", 7: "a"}, ignore=[7])
    assert [(one.label, one.region.size, one.ignore) for one in of_instances] == [
        ("a", 2, False),
        ("b", 2, False),
        ("a", 1, True),
    ]
    assert of_instances[0].region.mask.shape == (3, 4)
    assert reference_lesions.from_instances(np.zeros((2, 2), int), "a") == ()


def test_small_lesions_are_ignored():
    lesions = reference_lesions.from_classes(np.array([[1, 1, 0, 1]]), ["a"])
    assert [one.ignore for one in reference_lesions.too_small(lesions, 3.0, (1.0, 2.0))] == [False, True]
