from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finetuning import SEGMENT, options, recipe
from PIL import Image

from medssl.build import kinds
from medssl.data.cache import Cache
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint
from medssl.finetuning import evaluate, examples
from medssl.finetuning.loop import finetune, tune
from medssl.localization import scores, truth, tuning
from medssl.metrics.lesions import Candidate, Findings, Lesion, Region
from medssl.metrics.matching import Rule
from medssl.patches import CaseCache, PatchDataset
from medssl.patches import build as augment
from medssl.report import froc as report_froc
from medssl.tasks import localize, segment
from medssl.types import Box, InputError


def case(shape=(12, 12), boxes=(), has_label=False, looked="", spacing=(1.0, 1.0)):
    return SimpleNamespace(
        id="X-1", shape=shape, boxes=tuple(boxes), has_label=has_label, looked=looked, spacing=spacing, classes=()
    )


def sure(mask, classes=1):
    """Probabilities (K,*S) of a mask."""
    return torch.nn.functional.one_hot(torch.from_numpy(mask).long(), classes + 1).movedim(-1, 0).float()


def test_components_instances_and_boxes_give_lesions():
    label = np.zeros((1, 12, 12), np.uint16)
    label[0, 1:3, 1:3], label[0, 3:5, 3:5], label[0, 8, 8] = 1, 2, 2  # touch at a corner
    by_class = truth.of_case(case(has_label=True), label, ["a", "b"], "components")
    assert [lesion.label for lesion in by_class.lesions] == ["a", "b", "b"]
    assert np.array_equal(by_class.map, label)
    numbered = truth.of_case(case(has_label=True), label, ["lesion"], "instances")
    assert [lesion.region.size for lesion in numbered.lesions] == [4, 5]  # 2 lies in two places and is one lesion
    assert np.array_equal(numbered.map, label > 0)
    boxed = case(boxes=[Box("mass", (2, 2), (7, 7)), Box("", (9, 9), (10, 10)), Box("mass", (3, 3), (3, 9))])
    found = truth.of_case(boxed, None, ["lesion", "mass"], "auto")
    assert [(one.label, one.region.mask) for one in found.lesions] == [("mass", None), ("lesion", None)]
    assert found.map[0, 9, 9] == 1
    assert found.map[0, 2].tolist() == [0, 0, 0, 2, 2, 2, *[0] * 6]  # the ellipse, not the box


def test_an_ellipsoid_has_the_voxels_whose_centres_it_holds():
    window, inside = truth.ellipsoid((2, 2), (7, 7), (12, 12))
    assert [part.start for part in window] == [2, 2]
    at = np.arange(5) - 2
    assert np.array_equal(inside, at[:, None] ** 2 + at**2 <= 2.5**2)
    thin = [((4.1, 4.1), (4.3, 4.3), (4, 4)), ((11.5, 0), (12, 1), (11, 0)), ((5.6, 5), (6.2, 6), (5, 5))]
    for start, stop, voxel in thin:
        window, inside = truth.ellipsoid(start, stop, (12, 12))
        where = np.argwhere(inside) + [part.start for part in window]
        assert tuple(voxel) in {tuple(one) for one in where}
        assert inside.sum() >= 1


def test_overlapping_ellipsoids_keep_the_nearest_centre():
    boxed = case((12, 24), [Box("b", (2, 2), (10, 14)), Box("a", (2, 10), (10, 22))], spacing=(1.0, 1.0))
    found = truth.of_case(boxed, None, ["a", "b"], "boxes").map[0]
    assert (found[6, 3:12] == 2).all()
    assert (found[6, 12:21] == 1).all()


def test_who_looked_and_found_nothing_is_a_negative_and_who_is_unknown_is_none():
    assert truth.of_case(case(looked="none"), None, ["mass"], "auto").lesions == ()
    assert not truth.labelled(case(), "auto")
    assert not truth.labelled(case(looked="none"), "components")
    assert truth.labelled(case(looked="none"), "boxes")
    with pytest.raises(InputError, match=r"X-1 has neither a label volume nor boxes"):
        truth.of_case(case(), None, ["mass"], "auto")
    with pytest.raises(InputError, match=r"box of class cyst, not one of mass"):
        truth.of_case(case(boxes=[Box("cyst", (0, 0), (2, 2))]), None, ["mass"], "boxes")
    with pytest.raises(InputError, match=r"values from 7 to 7.*task.truth=instances"):
        truth.of_case(case(has_label=True), np.full((1, 2, 2), 7), ["mass"], "auto")


def test_nothing_is_learned_where_a_lesion_is_to_be_ignored():
    task = localize.build(spatial_dims=2, classes=["mass"])
    known = Box("mass", (1, 1), (5, 5))
    ignored = case(boxes=[known, Box("mass", (6, 6), (11, 11), ignore=True)])
    map_, lesions = task.truth(ignored, None)
    target = torch.from_numpy(task.target((), map_, "X-1"))[None]
    assert set(np.unique(target)) == {-1, 0, 1}
    assert [lesion.ignore for lesion in lesions] == [False, True]
    logits = torch.zeros(1, 2, 12, 12, requires_grad=True)
    sum(task.loss(logits, target).main.values()).backward()
    assert (logits.grad[0, :, target[0] < 0] == 0).all()
    assert (logits.grad[0, :, target[0] >= 0] != 0).all()


def test_a_row_holds_what_every_score_is_made_of():
    """Two lesions, one found at .9 and one at .25 (under the mask's .5), a false alarm of .6: by hand."""
    task = localize.build(spatial_dims=2, classes=["mass"], threshold=0.5, least=0)
    target, p = np.zeros((20, 20), int), np.zeros((20, 20), np.float32)
    target[2:5, 2:5], target[12:15, 12:15] = 1, 1
    p[2:5, 2:5], p[12:15, 12:14], p[18, 2] = 0.9, 0.25, 0.6
    row = task.metrics(torch.from_numpy(np.stack([1 - p, p])), target, (1.0, 1.0))
    stored = json.loads(json.dumps(row))
    image = Findings.from_json(stored["findings"])
    assert [round(one.score, 3) for one in image.candidates] == [0.9, 0.6, 0.25]
    assert [one.region.size for one in image.candidates] == [9, 1, 6]
    summed = task.summary([stored])
    assert summed["dice"] == pytest.approx(2 * 9 / (10 + 18))  # the ladder leaves the mask of Dice alone
    assert (summed["sensitivity_at_0.5_fp"], summed["sensitivity_at_1_fp"]) == (0.5, 1)
    assert summed["cpm"] == pytest.approx((3 * 0.5 + 4 * 1) / 7)
    assert summed["lesion_f1"] == pytest.approx(2 * 1 / (2 + 1 + 1))
    assert (summed["operating_fp_per_image"], summed["images"], summed["negatives"], summed["lesions"]) == (1, 1, 0, 2)
    assert task.resampled([stored, stored])(np.array([0, 1])) == pytest.approx(summed["cpm"])
    details = json.loads(json.dumps(task.details([stored])))
    assert details["froc"]["mass"]["curve"]["threshold"] == pytest.approx([0.9, 0.6, 0.25])


def image(*candidates, lesions=((2, 2),)):
    marked = [Lesion("mass", Region.of_mask(np.ones((3, 3), bool), at)) for at in lesions]
    made = [Candidate("mass", Region.of_mask(np.ones(size, bool), at), score) for at, size, score in candidates]
    return Findings((1.0, 1.0), tuple(marked), tuple(made), (30, 30))


def test_validation_chooses_the_least_size_and_the_threshold():
    """Specks of 4 voxels are false, what is found has 9: with a least of 5 nothing false is left."""
    specks = [((20 + 3 * i, 20), (2, 2), 0.95) for i in range(3)]
    images = [image(((2, 2), (3, 3), 0.8), *specks), image(*specks, lesions=())]
    assert tuning.best_least(images, ["mass"], Rule()) == 5
    kept = [tuning.with_least(one, 5) for one in images]
    assert tuning.best_threshold(kept, ["mass"], Rule(), "f1", 1.0) == 0.8
    assert tuning.best_least([], ["mass"], Rule()) == 0
    assert tuning.best_threshold([], ["mass"], Rule(), "f1", 1.0) == 0.5
    nothing = [image(((25, 2), (3, 3), 0.8))]
    assert tuning.best_threshold(nothing, ["mass"], Rule(), "f1", 1.0) == 0.5


def test_scores_are_means_over_the_classes_that_have_lesions():
    """A class without a lesion has no score, not one of 0; its candidates count where false positives are counted."""
    box = Region.of_box((0, 0), (4, 4))
    images = [Findings((1.0, 1.0), (Lesion("a", box),), (Candidate("a", box, 0.9), Candidate("b", box, 0.9)), (9, 9))]
    summed = scores.summary(images, ["a", "b"], Rule(), 0.5)
    assert (summed["cpm"], summed["ap"], summed["lesion_f1"]) == (1, 1, 1)
    assert "cpm.b" not in summed
    assert summed["operating_fp_per_image"] == 1
    none = scores.summary([Findings((1.0, 1.0), (), (), (9, 9))], ["a"], Rule(), None)
    assert np.isnan(none["cpm"])
    assert none["negatives"] == 1


def held(label, **settings):
    """One case with this label, as training takes it."""
    about = SimpleNamespace(
        id="a", patient="p", classes=(), has_label=True, channels=1, shape=label.shape[1:], spacing=(1.0, 1.0),
        intensity=((0.0, 1.0),), preset="mr", boxes=(), looked="",
    )  # fmt: skip
    cache = SimpleNamespace(cases={"a": about}, image=lambda n: label.astype(np.float32), label=lambda n: label)
    return CaseCache(cache, localize.build(spatial_dims=2, classes=["mass"]), **settings)


def test_patches_are_drawn_by_lesion():
    """A lesion of 4 voxels and one of 400: by voxel the small one is hardly ever drawn, by lesion every second time."""
    label = np.zeros((1, 64, 64), np.uint8)
    label[0, 2:4, 2:4], label[0, 40:60, 40:60] = 1, 1
    still = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}
    settings = augment(spatial_dims=2, size=[16, 16], preset="mr", warp=still, intensity=[], foreground=1.0)
    shares = []
    for by in (None, "lesion", "class"):
        data = PatchDataset(held(label, by=by), ["a"], settings, 0)
        drawn = [data[epoch, 0][1].numpy() for epoch in range(60)]
        assert all(one.any() for one in drawn)
        shares.append(np.mean([one.sum() <= 4 for one in drawn]))
    assert shares[0] == shares[1]
    assert 0.3 < shares[1] < 0.7
    assert shares[2] < 0.1


LOCALIZE = {"kind": "localize", "classes": ["lesion"]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    phantom_cache(folder / "cache", 6, (24, 24, 24), 0, "ct")
    return folder / "cache"


def test_a_run_writes_what_scores_are_made_of_and_what_validation_decided(cache, tmp_path):
    made = recipe(SEGMENT, data={"cache": str(cache)}, task=LOCALIZE)
    results = tune(made, options(tmp_path / "run"))
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert stored["score"] == "cpm"
    assert stored["settings"]["least"] in tuning.LEAST
    task = kinds.make("task", stored["settings"], {"spatial_dims": 3})
    said = {name: np.nan if value is None else value for name, value in stored["test"]["summary"].items()}
    rows = [evaluate.scores(row) for row in stored["test"]["rows"]]
    assert task.summary(rows) == pytest.approx(said, nan_ok=True)
    assert stored["test"]["details"]["froc"]["lesion"]["curve"]["images"] == results["test"]["cases"]
    best = checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pt")
    assert best["recipe"]["task"]["threshold"] == stored["settings"]["threshold"]
    assert tune(made, options(tmp_path / "run", resume=True)) == results


def test_boxes_are_enough_to_learn_from(tmp_path):
    found = phantom_cache(tmp_path / "cache", 10, (32, 32), 0, "xray")
    changes = {"encoder": {"kind": "tiny", "channels": [4, 8]}, "augment": {"size": [32, 32], "preset": "xray"}}
    made = recipe(SEGMENT, spatial_dims=2, data={"cache": str(tmp_path / "cache")}, task={"kind": "localize"}, **{
        **changes, "train": {"steps": 2}
    })  # fmt: skip
    del made.task["classes"]
    results = tune(made, options(tmp_path / "run"))
    assert results["settings"]["classes"] == ["opacity"]
    boxes = sum(len(case.boxes) for case in found.cases.values() if case.split == "test")
    assert results["test"]["summary"]["lesions"] == boxes
    assert results["test"]["summary"]["negatives"] > 0
    assert "dice" not in results["test"]["summary"]  # of ellipsoids it would mean nothing
    assert [box.start for box in Cache(tmp_path / "cache").cases[found.ids[0]].boxes] == [
        box.start for box in found.cases[found.ids[0]].boxes
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ladder": (0.1, 0.5)}, "task.ladder"),
        ({"least": -1}, "task.least=-1"),
        ({"overlap": 1.0}, "task.overlap"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        localize.build(spatial_dims=2, **settings)


def test_a_segment_of_instances_is_one_class():
    task = segment.build(spatial_dims=2, classes=["nucleus"], instances=True)
    assert task.target((), np.array([[[0, 3, 700]]]), "x").tolist() == [[0, 1, 1]]
    module = segment.variant({"instances": True})
    assert module.names(None, [], None) == ["1"]


def test_the_report_shows_what_was_found_and_missed(cache, tmp_path):
    made = recipe(SEGMENT, data={"cache": str(cache)}, task=LOCALIZE, train={"steps": 1})
    finetune(made, options(tmp_path / "run"))
    assert (tmp_path / "run" / "figures" / "lesions.png").stat().st_size > 1000
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Lesions found, missed, and false alarms" in page
    assert "FROC: lesion" in page
    assert "metric.val_cpm" in page
    assert "metric.val_lesions" not in page, "a count is no curve"


def test_a_kind_without_examples_takes_a_line_and_no_room():
    tile = Image.new("RGB", (examples.SIDE, examples.SIDE))
    some, none = examples._sheet({"found: 4": [tile] * 4, "missed: 0": []}), examples._sheet({"missed: 0": []})
    assert some.height == 2 * examples.TITLE + 2 * (examples.SIDE + examples.GAP)
    assert none.height == examples.TITLE
    assert some.width == none.width


def test_no_froc_is_drawn_where_no_lesion_was_looked_for():
    assert report_froc.charts(None) == report_froc.charts({"test": {"details": None}}) == []
    curve = {"images": 2, "lesions": 0, "false": [1], "true": [0]}
    at = {"fp_per_image": [1.0], "sensitivity": [0.5]}
    test = {"details": {"froc": {"a": {"curve": curve, "at": at}, "b": {"curve": {**curve, "lesions": 2}, "at": at}}}}
    assert [chart.name for chart in report_froc.charts({"test": test})] == ["froc.b"]


@pytest.mark.parametrize(("settings", "shown"), [({}, 0.5), ({"threshold": None}, 0.5), ({"threshold": 0.0}, 0.0)])
def test_examples_show_what_the_task_reports(settings, shown):
    assert scores.reporting(settings.get("threshold")) == shown


def test_examples_are_told_apart_by_the_hit_rule():
    box, away = Region.of_box((0, 0), (4, 4)), Region.of_box((6, 6), (9, 9))
    low = Candidate("a", away, 0.4)
    images = [
        Findings((1.0, 1.0), (Lesion("a", box),), (Candidate("a", box, 0.9), Candidate("a", away, 0.7), low), (9, 9)),
        Findings((1.0, 1.0), (Lesion("a", box), Lesion("a", away, ignore=True)), (), (9, 9)),
    ]
    rows = [{"id": str(n), "findings": one.as_json()} for n, one in enumerate(images)]
    kinds = examples.sorted_out(rows, Rule(), 0.5)
    assert {name: [(one.case, one.weight) for one in found] for name, found in kinds.items()} == {
        "lesions found": [("0", 0.9)],
        "lesions missed": [("1", 16.0)],
        "false alarms": [("0", 0.7)],
    }
