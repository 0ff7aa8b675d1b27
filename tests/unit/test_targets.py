"""What a task makes of labels is what its network is trained on and scored on, for dense tasks too."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medssl import patches
from medssl.data.arrays import compact
from medssl.finetuning import evaluate
from medssl.patches import CaseCache, PatchDataset
from medssl.tasks.segment import Segment

SHAPE = (20, 24)


class Merged(Segment):
    """Label values 1 and 3 are one class, 2 is background."""

    def target(self, names, label, case):
        return np.isin(label[0], (1, 3)).astype(np.int64)


def labels() -> np.ndarray:
    label = np.zeros((1, *SHAPE), np.uint8)
    label[0, 2:8, 2:8], label[0, 10:16, 4:10], label[0, 4:12, 14:22] = 1, 2, 3
    return label


def merged() -> np.ndarray:
    return np.isin(labels()[0], (1, 3))


@pytest.fixture
def case_cache():
    """One case whose image shows its label."""
    about = {"id": "a", "patient": "p", "shape": SHAPE, "spacing": (1.0, 1.0), "channels": 1, "classes": ()}
    case = SimpleNamespace(**about, intensity=((0.0, 3.0),), has_label=True, preset="ct")
    cache = SimpleNamespace(cases={"a": case}, image=lambda name: labels().astype(np.float32), label=lambda n: labels())
    task = Merged(
        spatial_dims=2, classes=["lesion"], pooled="batch", smooth=1.0, overlap=0.5, tolerance=None, floor=True
    )
    return CaseCache(cache, task)


STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}


def test_patches_hold_the_merged_labels_at_their_place(case_cache):
    augment = patches.build(spatial_dims=2, size=[8, 8], warp=STILL, intensity=[], foreground=0.5)
    data, seen = PatchDataset(case_cache, ["a"], augment, 0), set()
    for epoch in range(20):
        x, target = data[epoch, 0]
        np.testing.assert_array_equal(target, np.isin((x[0] * 3).round(), (1, 3)))
        assert target.dtype == torch.int64
        seen |= set(target.unique().tolist())
    assert seen == {0, 1}


def test_patches_are_centred_on_what_the_task_calls_foreground(case_cache):
    assert {bool(merged()[tuple(at)]) for places in case_cache("a").foreground_voxels for at in places} == {True}


def test_a_prediction_of_the_merged_class_scores_full_and_one_of_the_raw_labels_does_not(case_cache):
    class Says(torch.nn.Module):
        def __init__(self, values):
            super().__init__()
            self.values = values

        def forward(self, x):
            hot = torch.isin((x * 3).round(), torch.tensor(self.values)).float()
            return torch.cat([1 - hot, hot], 1) * 40

    right, raw = (
        evaluate.rows(case_cache.task, Says(values), case_cache, ["a"], SHAPE, "cpu")[0]
        for values in ((1.0, 3.0), (1.0, 2.0, 3.0))
    )
    assert right["dice"] == 1.0
    sure = 2 * merged().sum() / (merged().sum() + (labels() > 0).sum())
    assert raw["dice"] == pytest.approx(sure)


def test_the_baseline_without_an_image_knows_the_merged_labels_alone(case_cache):
    assert evaluate.no_image_baseline(case_cache.task, case_cache, ["a"], ["a"])["dice"] == pytest.approx(1.0)


def test_a_task_without_such_a_baseline_reads_no_label_for_it(case_cache, monkeypatch):
    monkeypatch.setattr(CaseCache, "__call__", lambda *_: pytest.fail("a case was read"))
    task = Segment(spatial_dims=2, classes=["1", "2", "3"])
    assert evaluate.no_image_baseline(task, case_cache, ["a"], ["a"]) is None


def test_a_large_label_that_the_task_leaves_alone_stays_on_disk(case_cache, monkeypatch):
    monkeypatch.setattr("medssl.patches.LARGE", 10)
    on_disk = labels()
    case_cache.cache.label = lambda name: on_disk
    np.testing.assert_array_equal(case_cache("a").target[0], merged())
    case_cache.task = Segment(
        spatial_dims=2, classes=["1", "2", "3"], pooled="batch", smooth=1.0, overlap=0.5, tolerance=None, floor=False
    )
    assert CaseCache(case_cache.cache, case_cache.task)("a").target is on_disk


@pytest.mark.parametrize(("values", "kind"), [((0, 2), np.uint8), ((-1, 3), np.int16), ((0, 70000), np.uint32)])
def test_targets_are_held_in_the_smallest_type_that_keeps_them(values, kind):
    target = np.array([values], np.int64)
    found = compact(target)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, target)


def test_a_patch_beyond_a_small_volume_is_background(case_cache):
    augment = patches.build(spatial_dims=2, size=[32, 32], warp=STILL, intensity=[])
    _, target = PatchDataset(case_cache, ["a"], augment, 0)[0, 0]
    assert int(target.sum()) == int(merged().sum())
