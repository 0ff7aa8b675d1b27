"""Three steps of fine-tuning equal those of `plain.training`, which shares no code with the loop; and laws beside them.

Labels are the nearest, and no class appears that was not there; training, validation, test and predict see the same
voxel values; the weights that validated best are the ones tested; a validation leaves the network in training mode;
the loss is the sum of its parts.
"""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import plain.encoder
import pytest
import torch
from plain import training
from safetensors.torch import save_file

from medssl import cli, patches
from medssl.data.cache import Cache, Case, write_case
from medssl.data.phantom.cases import phantom_cache, write_ct_dataset
from medssl.engine import checkpoint, log
from medssl.finetuning.loop import tune
from medssl.finetuning.predict import load, predict
from medssl.patches import CaseCache, PatchDataset
from medssl.recipe import FinetuneRecipe, Options, validate
from medssl.tasks import segment
from medssl.types import Window

STEPS, LOW, HIGH = 3, -150.0, 250.0
STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}
SIZE = {"a": (8, 8, 8), "b": (8, 8, 8), "val": (16, 8, 8), "test": (12, 10, 6)}  # of cases; the patch is 8 x 8 x 8
SGD = {"kind": "sgd", "lr": 0.3, "momentum": 0.9, "weight_decay": 0.01, "warmup": 2}
ADAMW = {"kind": "adamw", "lr": 0.05, "weight_decay": 0.01, "warmup": 1, "clip": 0.2}


def rewritten(folder, preset, images):
    """A cache that holds exactly `images`: name -> (image (1,*S), label (1,*S) or None, class); their ids by name."""
    dims = next(iter(images.values()))[0].ndim - 1
    phantom_cache(folder, max(3, len(images)), (24,) * dims, 0, preset)
    found, ids = Cache(folder), {}
    for name, (image, label, kind) in zip(images, images.values(), strict=True):
        one = found.cases[found.ids[len(ids)]]
        ids[name] = one.id
        case = one._replace(
            shape=image.shape[1:],
            intensity=((LOW, HIGH),),
            classes=(kind,),
            has_label=label is not None,
            foreground=Window((0,) * dims, image.shape[1:]),
            boxes=(),
            split=name if name in ("val", "test") else "train",
        )
        write_case(folder, case, image, label, found.geometry(one.id))
    return folder, ids


def volume(shape, seed):
    """Soft tissue of three values that noise blurs, much of it beyond the window; labels 0, 1 and 2."""
    rng = np.random.default_rng(seed)
    places = np.indices(shape).transpose(1, 2, 3, 0) / np.asarray(shape)
    label = np.zeros(shape, np.uint8)
    label[((places - rng.uniform(0.3, 0.6, 3)) ** 2).sum(-1) < 0.15] = 1
    label[((places - rng.uniform(0.5, 0.8, 3)) ** 2).sum(-1) < 0.10] = 2
    image = np.array([-300, 100, 400])[label] + rng.normal(0, 150, shape)
    return image.round().astype(np.int16)[None], label[None]


@pytest.fixture(scope="module")
def cases():
    return {name: volume(shape, seed) for seed, (name, shape) in enumerate(SIZE.items())}


def weights(dims, outputs, decoder):
    rng, k = np.random.default_rng(103), [3] * dims
    shapes = {"encoder.conv.weight": (4, 1, *k), "encoder.norm.bias": (4,)}
    shapes |= {"decoder.conv.weight": (4, 4, *k), "decoder.conv.bias": (4,)} if decoder else {}
    shapes |= (
        {"head.0.weight": (outputs, 4, *[1] * dims), "head.0.bias": (outputs,)}
        if decoder
        else {"head.linear.weight": (outputs, 4), "head.linear.bias": (outputs,)}
    )
    made = {name: torch.from_numpy(rng.normal(0, 0.3, shape)).float() for name, shape in shapes.items()}
    ones, zeros = torch.ones(4), torch.zeros(4)
    made |= {"encoder.norm.weight": ones, "encoder.norm.running_mean": zeros, "encoder.norm.running_var": ones.clone()}
    return made | {"encoder.norm.num_batches_tracked": torch.tensor(0)}


def settings(folder, task, size, optimizer, **train):
    dense = task["kind"] == "segment"
    content = {
        "spatial_dims": len(size),
        "data": {"cache": str(folder), "train": "train", "val": "val", "test": "test"},
        "encoder": {"kind": "plain.encoder"},
        "decoder": {"kind": "plain.decoder"} if dense else None,
        "task": task,
        "augment": {
            "size": list(size),
            "preset": "ct" if dense else "xray",
            "warp": STILL,
            "intensity": [],
            "scale": [1.0, 1.0],
        },
        "optimizers": {"main": optimizer},
        "train": {"steps": STEPS, "validate_every": 1, "checkpoint_every": 1, **train},
    }
    return validate(FinetuneRecipe, content, "recipe")


def run_of(recipe, out, start):
    save_file(start, out.with_suffix(".safetensors"))
    parts = sorted({name.split(".")[0] for name in start})
    plain.encoder.SEEN.clear()
    return tune(
        recipe, Options(out=str(out), device="cpu", init=str(out.with_suffix(".safetensors")), init_parts=parts)
    )


def equal(ours, theirs, tolerance=2e-5):
    for name, tensor in theirs.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(ours[name].double(), tensor, rtol=tolerance, atol=tolerance, msg=name)


RUNS = {  # name: the cases to learn from, the batch, its parts, the optimizer
    "sgd": (["a", "b"], 2, 1, SGD),
    "adamw, clipped": (["a", "b"], 2, 1, ADAMW),
    "accumulated": (["a"], 4, 2, SGD),  # all samples are one, so that no order is asked for
}


@pytest.fixture(scope="module", params=RUNS)
def both(request, cases, tmp_path_factory):
    """The run of `tune`, and what the reference makes of the same start: weights, losses and validation by step."""
    names, batch, parts, optimizer = RUNS[request.param]
    folder = tmp_path_factory.mktemp("tuned")
    held = {name: (*cases[name], "x") for name in (*names, "val", "test")}
    cache, _ = rewritten(folder / "cache", "ct", held)
    start = weights(3, 3, decoder=True)
    made = settings(cache, {"kind": "segment", "classes": 3}, (8, 8, 8), optimizer, batch=batch, accumulate=parts)
    results = run_of(made, folder / "run", start)
    x = torch.stack([training.scaled(cases[name][0], LOW, HIGH) for name in names])
    target = torch.stack([torch.from_numpy(cases[name][1][0].astype(int)) for name in names])
    copies = batch // parts // len(names)
    part = torch.cat([x] * copies), torch.cat([target] * copies)
    player = training.Optimizer(
        optimizer["kind"],
        weight_decay=optimizer["weight_decay"],
        momentum=optimizer.get("momentum", 0.0),
        clip=optimizer.get("clip"),
    )
    losses, batches = training.segmentation_losses, [[part] * parts] * STEPS
    steps = list(training.train(start, batches, losses, player, lr=optimizer["lr"], warmup=optimizer["warmup"]))
    return SimpleNamespace(
        name=request.param,
        out=folder / "run",
        results=results,
        steps=steps,
        cases=cases,
        seen=list(plain.encoder.SEEN),
    )


def scores(both, step, name):
    """Dice of the reference's network of `step` on a case, in eval mode, by windows of the patch's size."""
    image, label = both.cases[name]
    found = training.sliding(
        lambda x: training.network(dict(both.steps[step][0]), x, training=False),
        training.scaled(image, LOW, HIGH),
        (8, 8, 8),
    )
    return training.dice(found.detach(), label[0], 3)


def test_three_steps_give_the_weights_and_losses_of_the_reference(both):
    records = log.read(both.out / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]
    for record, (_, losses) in zip(records, both.steps, strict=True):
        assert {name for name in record if name.startswith("loss.")} == {f"loss.{name}" for name in losses}
        assert all(record[f"loss.{name}"] == pytest.approx(value, rel=1e-4) for name, value in losses.items())
    equal(checkpoint.load(both.out / "checkpoints" / "last.pt")["weights"], both.steps[-1][0])


def test_validation_is_in_eval_mode_by_windows_that_overlap_and_training_goes_on_in_training_mode(both):
    records = log.read(both.out / "metrics.jsonl")
    for step, record in enumerate(records):
        assert record["metric.val_dice"] == pytest.approx(scores(both, step, "val")[0], abs=2e-3)
    modes = [training for _, training in both.seen]
    first = modes.index(False)
    assert all(modes[:first])
    assert modes.count(True) == STEPS * first  # as many forwards a step, also after a validation
    changes = sum(a != b for a, b in pairwise(modes))
    assert changes == 2 * STEPS - 1  # train, validate, ... , and the test after the last validation


def test_the_weights_that_validated_best_are_tested_and_predict(both):
    by_step = [scores(both, step, "val")[0] for step in range(STEPS)]
    best = int(np.argmax(by_step))
    assert sorted(by_step)[-1] - sorted(by_step)[-2] > 0.01, "a case that decides nothing"
    assert best == (2 if both.name == "adamw, clipped" else 1), "one run is best before its end, one at it"
    assert both.results["best_step"] == best + 1
    assert both.results["validation"] == pytest.approx(by_step[best], abs=2e-3)
    (row,) = both.results["test"]["rows"]
    assert row["dice"] == pytest.approx(scores(both, best, "test")[0], abs=2e-3)
    assert [row["dice.1"], row["dice.2"]] == pytest.approx(scores(both, best, "test")[1], abs=2e-3)
    equal(load(both.out).model.state_dict(), both.steps[best][0])


def test_training_and_inference_see_the_voxels_that_are_there_cut_to_the_window(both):
    """By value: whatever reached the network is a part of a scaled volume, or the 0 of what lies beside it."""
    whole = {name: training.scaled(image, LOW, HIGH)[0] for name, (image, _) in both.cases.items()}
    assert all(((image < LOW).any() and (image > HIGH).any()) for image, _ in both.cases.values())
    seen = [x for x, training in both.seen if training]
    assert all(any(torch.allclose(one[0].double(), whole[n], atol=1e-6) for n in ("a", "b")) for x in seen for one in x)
    judged = [one[0].double() for x, training in both.seen if not training for one in x]
    parts = [whole["val"][start : start + 8] for start in (0, 4, 8)]
    test = torch.nn.functional.pad(whole["test"], (1, 1))
    parts += [test[z : z + 8, y : y + 8] for z in (0, 4) for y in (0, 2)]
    assert all(any(torch.allclose(one, part, atol=1e-6) for part in parts) for one in judged)
    assert all(any(torch.allclose(one, part, atol=1e-6) for one in judged) for part in parts), "a window was left out"


def test_windows_are_blended_by_gaussian_weights():
    """A network that says where in its window a voxel lies gives another answer for every way to place and weigh."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.stack([torch.zeros(12, 8), torch.randn(12, 8, generator=generator)])
    image = torch.rand(1, 30, 21, generator=generator)
    for overlap in (0.5, 0.25, 0.0):
        task = segment.build(spatial_dims=2, classes=2, overlap=overlap)
        ours = task.predict(lambda x: x + ramp.to(x), image[None], (12, 8))[0]
        theirs = training.sliding(lambda x: x.double() + ramp, image, (12, 8), overlap)
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)


def where(shape, spacing, labels):
    """A case whose channels are the coordinates of its voxels, and whose label is random in blocks of 2 voxels."""
    rng = np.random.default_rng(3)
    image = np.indices(shape).astype(np.float32)
    label = rng.choice(labels, [-(-n // 2) for n in shape]).astype(np.uint8)
    for axis, n in enumerate(shape):
        label = label.repeat(2, axis).take(np.arange(n), axis)
    case = Case(
        **{"id": "where", "shape": shape, "spacing": spacing, "channels": len(shape), "modality": "CT", "preset": "ct"},
        **{"patient": "p", "split": "train", "classes": (), "has_label": True, "foreground": Window((0,), (1,))},
        intensity=tuple((0.0, float(n)) for n in shape),
    )
    return SimpleNamespace(cases={"where": case}, image=lambda _: image, label=lambda _: label[None]), label


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("shape", "spacing", "moves"),
    [
        ((40, 36), (1.0, 1.5), {"rotate": 15.0}),
        ((40, 36), (1.0, 1.5), {"rotate": 15.0, "elastic": 3.0, "zoom": 0.2, "flip": 0.5}),
        ((24, 28, 26), (2.0, 1.0, 1.0), {"rotate": 15.0}),
        ((24, 28, 26), (2.0, 1.0, 1.0), {"rotate": 15.0, "elastic": 3.0, "zoom": 0.2, "flip": 0.5}),
    ],
)
def test_labels_are_the_nearest_voxels_of_where_the_image_looks(shape, spacing, moves, large, monkeypatch):
    """The image says where each of its voxels came from, so NumPy can look the label up there by itself."""
    monkeypatch.setattr("medssl.patches.LARGE", 0 if large else 2**25)
    cache, label = where(shape, spacing, [0, 2])
    dims, size = len(shape), [16] * len(shape)
    augment = patches.build(spatial_dims=dims, channels=dims, size=size, warp={**STILL, **moves}, intensity=[])
    case_cache = CaseCache(cache, segment.build(spatial_dims=dims, classes=3))
    data, compared = PatchDataset(case_cache, ["where"], augment, seed=0), 0
    for epoch in range(6):
        x, target = data[epoch, 0]
        assert set(target.unique().tolist()) <= {0, 2}, "a class that was not there"
        at = x.double().numpy() * np.asarray(shape).reshape(-1, *[1] * dims)
        nearest = np.floor(at + 0.5).astype(int)
        last = np.asarray(shape).reshape(-1, *[1] * dims) - 1
        inside = ((at > 0.01) & (at < last - 0.01)).all(0)  # at the border the image says where it stopped
        clear = (np.abs(at - np.floor(at) - 0.5) > 0.01).all(0)  # halfway, rounding decides
        expected = label[tuple(np.clip(nearest, 0, last))]
        np.testing.assert_array_equal(target.numpy()[inside & clear], expected[inside & clear])
        compared += int((inside & clear).sum())
    assert compared > 0.5 * 6 * 16**dims


def test_predict_sees_what_training_saw(tmp_path):
    """From the scan's file to the network: `predict` shows the voxels of the prepared case, scaled and cut alike."""
    write_ct_dataset(tmp_path, 4, (24, 24, 24), 3)
    at = {name: str(tmp_path / name) for name in ("images", "labels", "m.csv", "cache", "run", "masks")}
    medssl("scan", at["images"], "--labels", at["labels"], "--out", at["m.csv"], "--split", "0.5,0.25,0.25")
    medssl("prepare", at["m.csv"], "--out", at["cache"], "--preset", "ct", "--spacing", "20,16,16")
    cache, size = Cache(at["cache"]), (32, 32, 32)
    made = settings(at["cache"], {"kind": "segment", "classes": 2}, size, ADAMW, batch=2, steps=2)
    run_of(made, tmp_path / "run", weights(3, 2, decoder=True))
    plain.encoder.SEEN.clear()
    predict(tmp_path / "run", [tmp_path / "images"], tmp_path / "masks", device="cpu")
    assert not any(training for _, training in plain.encoder.SEEN)
    shown = [x[0, 0].double() for x, _ in plain.encoder.SEEN]
    assert len(shown) == len(cache.ids)
    for name, case in cache.cases.items():
        x = training.scaled(cache.image(name)[:], *case.intensity[0])[0]
        pads = [((32 - n) // 2, 32 - n - (32 - n) // 2) for n in x.shape]
        x = torch.nn.functional.pad(x, [p for pair in reversed(pads) for p in pair])
        assert sum(torch.allclose(x, one, atol=1e-5) for one in shown) == 1


def medssl(*words):
    cli.app(args=list(words), standalone_mode=False)


def test_classification_learns_and_tells_as_the_reference(tmp_path):
    """Two images per batch; predictions.csv holds the softmax of the best weights, with the truth beside it."""
    rng = np.random.default_rng(1)
    names = {"a": "dark", "b": "light", "val": "light", "test": "dark"}
    held = {
        n: (rng.normal(-50 + 100 * (k == "light"), 200, (1, 12, 10)).astype(np.float32), None, k)
        for n, k in names.items()
    }
    cache, ids = rewritten(tmp_path / "cache", "xray", held)
    start = weights(2, 2, decoder=False)
    made = settings(cache, {"kind": "classify"}, (12, 10), SGD, batch=2)
    results = run_of(made, tmp_path / "run", start)
    x = torch.stack([training.scaled(held[name][0], LOW, HIGH) for name in ("a", "b")])
    batches = [[(x, torch.eye(2, dtype=torch.float64))]] * STEPS
    player = training.Optimizer("sgd", weight_decay=SGD["weight_decay"], momentum=SGD["momentum"])
    steps = list(
        training.train(start, batches, training.classification_losses, player, lr=SGD["lr"], warmup=SGD["warmup"])
    )
    equal(checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["weights"], steps[-1][0])
    seen = training.scaled(held["test"][0], LOW, HIGH)[None]
    logits = training.network(dict(steps[results["best_step"] - 1][0]), seen, training=False)
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["label"], row["class"]) for row in rows] == [
        (ids["test"], "dark", "dark"),
        (ids["test"], "dark", "light"),
    ]
    told = [float(row["probability"]) for row in rows]
    assert told == pytest.approx(logits.softmax(1)[0].tolist(), abs=1e-4)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["chosen_by"] == "last step"
