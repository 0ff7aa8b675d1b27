from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finetuning import CLASSIFY, options, recipe

from medssl import patches
from medssl.build import kinds
from medssl.data import files
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint
from medssl.finetuning import evaluate
from medssl.finetuning.loop import tune
from medssl.localization import heat, weak_scores
from medssl.metrics.lesions import Findings, Lesion, Region
from medssl.models.encoder import tiny
from medssl.models.heads import ClassificationHead
from medssl.patches import CaseCache, PatchDataset
from medssl.tasks import classify, localize_from_classes
from medssl.types import Box, InputError

C1 = [[0, 0, 0, 0], [0, 1, 0.6, 0], [0, 0.5, 0.2, 0], [0, 0, 0, 0]]


def network(dims=2, classes=2, channels=(4, 8)):
    torch.manual_seed(0)
    encoder = tiny.build(spatial_dims=dims, in_channels=1, channels=channels)
    return classify.Classifier(encoder, ClassificationHead(encoder.channels, classes)).eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_on_pooling_and_a_linear_layer_it_is_cam(dims):
    """relu(sum_c w_kc A_c) / cells, in batches too: larger is hotter (case C4)."""
    model, x = network(dims), torch.rand(2, 1, *[16] * dims)
    with torch.no_grad():
        deepest, logits = model.encoder(x)[-1], model(x)
        expected = torch.einsum("kc,bc...->bk...", model.head.linear.weight, deepest).relu() / deepest[0, 0].numel()
        found = heat.grad_cam(model.encoder, model.head, x, -1)
    for one, other, logit in zip(found, expected, logits, strict=True):
        torch.testing.assert_close(one.maps, other)
        torch.testing.assert_close(one.logits, logit)
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_the_level_is_the_deepest_with_cells_enough():
    features = [torch.zeros(1, 1, side, side) for side in (56, 28, 14, 7)]
    assert heat.level_of(features, None) == 2
    assert heat.level_of(features[3:], None) == 0  # none has: the finest
    assert heat.level_of(features, -1) == 3
    with pytest.raises(InputError, match=r"task.level=4, but the encoder has levels 0 to 3"):
        heat.level_of(features, 4)


def test_a_map_is_divided_by_its_peak_after_it_was_resized():
    """Case C1: bilinear to 8x8 the peak is .78125 at (3, 3); boxes at .2, .3, .5, .7 of it."""
    map_ = torch.tensor(C1)
    found = heat.restored(heat.stored(map_ * 7), (8, 8))
    assert found[3, 3] == found.max() == 1
    boxes = {cut: weak_scores.candidates(found, "mass", cut, 0.5)[0] for cut in (0.2, 0.3, 0.5, 0.7)}
    assert [(one.region.start, one.region.stop) for one in boxes.values()] == [
        ((1, 1), (6, 6)),
        ((2, 2), (6, 6)),
        ((2, 2), (5, 5)),
        ((2, 2), (4, 5)),
    ]
    assert boxes[0.2].score == 0.5  # the class's probability
    nothing = heat.restored(heat.stored(map_ * 0), (8, 8))
    assert not nothing.any()
    assert weak_scores.candidates(nothing, "mass", 0.5, 0.9) == ()


def row(box, map_, shape=(8, 8), p=0.9):
    lesions = [] if box is None else [Lesion("mass", Region.of_box(*box))]
    image = Findings((1.0, 1.0), tuple(lesions), (), shape)
    probability = {"probability.no": 1 - p, "probability.mass": p, "truth.no": int(box is None)}
    stored = {"mass": heat.stored(torch.tensor(map_))}
    return probability | {"truth.mass": int(box is not None), "findings": image.as_json(), "heat": stored}


def test_validation_chooses_the_threshold_whose_boxes_fit():
    """Of C1 the box at .3 and the truth [2,2,6,6] are one; at the thresholds around it they are not."""
    chosen = weak_scores.best_cut([row(((2, 2), (6, 6)), C1), row(None, C1)], ["mass"])
    found = weak_scores.candidates(heat.restored(heat.stored(torch.tensor(C1)), (8, 8)), "mass", chosen, 1.0)[0]
    assert (found.region.start, found.region.stop) == ((2, 2), (6, 6))
    assert weak_scores.best_cut([row(None, C1)], ["mass"]) == "otsu"


def test_scores_and_floors_by_hand():
    """One map that hits its box and one whose peak is elsewhere; the floors know of no map."""
    task = localize_from_classes.build(classes=["no", "mass"], cut=0.3)
    away = np.zeros((8, 8))
    away[7, 7] = 1.0
    rows = []
    for patient, box, map_ in (("a", ((2, 2), (6, 6)), C1), ("b", ((0, 0), (4, 4)), away.tolist())):
        seen = heat.Heat(torch.tensor([0.0, 2.0]), torch.tensor([map_, map_]))
        lesions = (Lesion("mass", Region.of_box(*box)),)
        found = task.found(seen, np.array([0, 1]), lesions, (1.0, 1.0), (8, 8))
        rows.append({"id": patient, "patient": patient, **found})
    stored = json.loads(json.dumps(rows))
    plain = [evaluate.scores(one) for one in stored]
    summed = task.summary(plain)
    assert [summed[f"iou_{t}"] for t in ("0.1", "0.6")] == [0.5, 0.5]
    assert summed["accuracy"] == 0.5
    assert (summed["pointing"], summed["empty_maps"], summed["peaks_on_border"]) == (0.5, 0, 0.5)
    assert summed["cpm"] == pytest.approx(5 * 0.5 / 7)  # hit and false alarm score alike: half a false one an image
    floors = task.details(stored)["floors"]["mass"]
    assert floors["whole image"]["iou_0.2"] == 1  # 16 of 64 voxels
    assert floors["whole image"]["iou_0.3"] == 0
    assert floors["best fixed box"]["iou_0.1"] == 1  # of the other patient: 4 of 28 voxels
    assert floors["best fixed box"]["iou_0.2"] == 0
    assert floors["random voxel"] == {"pointing": 0.25, "pixel_ap": 0.25}


def test_only_images_that_were_searched_count_for_places():
    task = localize_from_classes.build(classes=["no", "mass"])
    case = SimpleNamespace(
        id="X-1", shape=(8, 8), boxes=(), has_label=False, looked="", spacing=(1.0, 1.0), classes=("mass",)
    )
    assert task.truth(case, None) == (None, None)
    seen = heat.Heat(torch.zeros(2), torch.zeros(2, 4, 4))
    assert "findings" not in task.found(seen, np.array([0, 1]), None, (1.0, 1.0), (8, 8))
    case.looked = "none"
    assert task.truth(case, None) == (None, ())
    case.boxes = (Box("mass", (1, 1), (3, 3)),)
    assert [lesion.label for lesion in task.truth(case, None)[1]] == ["mass"]
    case.boxes = (Box("no", (1, 1), (3, 3)),)
    with pytest.raises(InputError, match="box of class no"):
        task.truth(case, None)


def test_training_reads_no_label_and_scores_read_each_once():
    """A network that learns from class names has no use for lesions until it is scored."""
    label, reads = np.zeros((1, 8, 8), np.uint8), []
    label[0, 2:5, 2:5] = 1
    about = SimpleNamespace(
        id="a", patient="p", classes=("mass",), has_label=True, channels=1, shape=(8, 8), spacing=(1.0, 1.0),
        intensity=((0.0, 1.0),), preset="mr", boxes=(), looked="",
    )  # fmt: skip
    cache = SimpleNamespace(
        cases={"a": about},
        image=lambda _: np.ones((1, 8, 8), np.float32),
        label=lambda name: reads.append(name) or label,
    )
    case_cache = CaseCache(cache, localize_from_classes.build(classes=["no", "mass"]))
    augment = patches.build(spatial_dims=2, size=[8, 8], preset="mr")
    _, target = PatchDataset(case_cache, ["a"], augment, 0)[0, 0]
    assert (target.tolist(), reads) == ([0, 1], [])
    assert [case_cache.lesions("a")[0].region.size for _ in range(2)] == [9, 9]
    assert reads == ["a"]


def test_a_run_learns_from_classes_and_is_scored_by_boxes(tmp_path):
    phantom_cache(tmp_path / "cache", 8, (32, 32), 0, "xray")
    made = recipe(CLASSIFY, data={"cache": str(tmp_path / "cache")}, task={"kind": "localize", "from": "classes"})
    results = tune(made, options(tmp_path / "run"))
    assert results["task"] == "localize"
    assert results["settings"]["from"] == "classes"
    assert results["settings"]["cut"] == "otsu" or 0 < results["settings"]["cut"] < 1
    assert {"iou_0.1", "pixel_ap", "pointing", "cpm", "auc"} <= set(results["test"]["summary"])
    assert {"iou_0.1", "pixel_ap"} <= set(results["test"]["randomised"])
    assert set(results["test"]["details"]["floors"]["opacity"]) == {"whole image", "best fixed box", "random voxel"}
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pt")["recipe"]["task"]["cut"] is not None
    task = kinds.make("task", results["settings"], {"spatial_dims": 2})
    rows = [evaluate.scores(one) for one in results["test"]["rows"]]
    assert files.plain(task.summary(rows)) == results["test"]["summary"]
