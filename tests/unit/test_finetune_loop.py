from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finetuning import CLASSIFY, SEGMENT, options, recipe

from medssl import patches
from medssl.data.cache import Cache
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint, log
from medssl.finetuning import evaluate, loop
from medssl.finetuning.loop import tune
from medssl.patches import CaseCache, PatchDataset, part_window, patch_window
from medssl.runtime import init_weights
from medssl.runtime.subsets import leaks, subsets
from medssl.tasks import segment
from medssl.types import InputError, Interrupted

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["medssl.pretraining.loop", "medssl.finetuning.loop"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    phantom_cache(folder / "cache", 6, (24, 24, 24), 0, "ct")
    return folder / "cache"


@pytest.fixture(scope="module")
def straight(cache, tmp_path_factory):
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("straight") / "run"
    return out, tune(recipe(SEGMENT, data={"cache": str(cache)}), options(out))


def samples(cache, **settings):
    task = segment.build(spatial_dims=3, classes=2)
    found = Cache(cache)
    augment = patches.build(spatial_dims=3, size=[16, 16, 16], **settings)
    return PatchDataset(CaseCache(found, task), found.ids, augment, seed=0), found


STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}


def test_patch_is_the_cached_voxels_and_label_moves_with_image(cache):
    made, found = samples(cache, warp=STILL, intensity=[], foreground=1.0)
    x, label = made[0, 0]
    image = (found.image(found.ids[0])[:].astype(np.float32) + 1000) / 2000
    whole = found.label(found.ids[0])[:]
    padded = np.pad(image.clip(0, 1)[0], 16)
    labels = np.pad(whole[0], 16)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 16, 16))
    places = np.argwhere(np.isclose(windows[..., 5:11, 5:11, 5:11], x[0, 5:11, 5:11, 5:11], atol=1e-6).all((3, 4, 5)))
    assert len(places) == 1
    z, y, x0 = places[0]
    np.testing.assert_allclose(x[0], windows[z, y, x0], atol=1e-6)
    np.testing.assert_array_equal(label, labels[z : z + 16, y : y + 16, x0 : x0 + 16])
    assert label.dtype == torch.int64


def test_a_moved_window_shows_what_lies_beyond_the_prepared_one(cache):
    found = Cache(cache)
    name = found.ids[0]
    found.cases[name] = found.cases[name]._replace(intensity=((-160.0, 240.0),))
    whole = list(found.cases[name].shape)
    augment = patches.build(spatial_dims=3, size=whole, warp=STILL, intensity=[{"kind": "window_jitter"}])
    augment.preset.intensity[0].draw = lambda rng, shape: {"low": -2.0, "high": 2.0}
    x, _ = PatchDataset(CaseCache(found, segment.build(spatial_dims=3, classes=2)), [name], augment, seed=0)[0, 0]
    expected = np.clip((found.image(name)[:].astype(np.float32) + 960) / 1600, 0, 1)
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_samples_depend_on_epoch_and_index_alone(cache):
    one, _ = samples(cache)
    other, _ = samples(cache)
    first = one[3, 1]
    other[0, 0]
    assert torch.equal(other[3, 1][0], first[0])
    assert torch.equal(other[3, 1][1], first[1])
    assert not torch.equal(one[4, 1][0], first[0])


def test_foreground_centres_patches_on_labels(cache):
    on, _ = samples(cache, foreground=1.0, warp=STILL)
    shares = [sum(int((s[e, i][1] > 0).any()) for e in range(4) for i in range(6)) / 24 for s in (on,)]
    assert shares[0] == 1.0


def test_patch_windows_cover_small_volumes_and_stay_inside_large_ones():
    rng = np.random.default_rng(0)
    starts = [patch_window((10, 40), (16, 16), np.array([3, 39]), rng).start for _ in range(200)]
    assert {s[0] for s in starts} == set(range(-6, 1))
    assert {s[1] for s in starts} == {24}
    free = [patch_window((10, 40), (16, 16), None, rng).start[1] for _ in range(400)]
    assert (min(free), max(free)) == (0, 24)


def test_part_window_keeps_the_aspect():
    rng = np.random.default_rng(0)
    for _ in range(50):
        window = part_window((100, 200), (0.25, 1.0), rng)
        assert window.size[1] == pytest.approx(2 * window.size[0], abs=2)
        assert 0.24 <= window.size[0] * window.size[1] / 20000 <= 1
        assert all(s + n <= m for s, n, m in zip(window.start, window.size, (100, 200), strict=True))


def test_held_keeps_within_its_bound(cache):
    found = Cache(cache)
    case_cache = CaseCache(found, segment.build(spatial_dims=3, classes=2), limit=1)
    first = case_cache(found.ids[0])
    case_cache(found.ids[1])
    assert list(case_cache._cases) == [found.ids[1]]
    assert case_cache(found.ids[0]).image is not first.image
    np.testing.assert_array_equal(case_cache(found.ids[0]).image, first.image)


def test_results_hold_scores_intervals_and_no_path(straight):
    out, results = straight
    stored = json.loads((out / "results.json").read_text())
    assert stored["test"]["cases"] == len(stored["test"]["rows"]) == 1
    assert stored["test"]["dice"] == pytest.approx(results["test"]["rows"][0]["dice"])
    assert stored["chosen_by"] == "validation"
    assert stored["best_step"] in (3, 6)
    assert stored["settings"]["classes"] == ["lesion"]
    for name in ("results.json", "metrics.jsonl", "train.log"):
        assert str(out.parent) not in (out / name).read_text()
    record = log.read(out / "metrics.jsonl")[-1]
    assert {"step", "samples", "lr.main", "loss.cross_entropy", "loss.dice", "metric.val_dice"} <= set(record)
    assert {"time", "data_wait", "memory"} <= set(record)


def test_interrupted_and_resumed_equals_straight(cache, straight, tmp_path, monkeypatch):
    asked = iter([False, False, False, True])
    real = loop._step
    monkeypatch.setattr(loop, "_step", lambda *a, **k: real(*a, **{"asked": next(asked)}))
    made = recipe(SEGMENT, data={"cache": str(cache)})
    with pytest.raises(Interrupted, match="step 4 of 6"):
        tune(made, options(tmp_path / "run"))
    monkeypatch.setattr(loop, "_step", real)
    results = tune(made, options(tmp_path / "run", resume=True))
    out, expected = straight
    assert results == expected
    ours, theirs = (checkpoint.load(f / "checkpoints" / "last.pt")["weights"] for f in (tmp_path / "run", out))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    times = ("time", "data_wait", "memory")
    lines = [
        [{k: v for k, v in line.items() if k not in times} for line in log.read(f / "metrics.jsonl")]
        for f in (tmp_path / "run", out)
    ]
    assert lines[0] == lines[1]


def one_of_two(made, out, rank, port, stop_at, resume):
    """What each of two processes runs, as torchrun starts them."""
    from lightning_utilities.core.rank_zero import rank_zero_only

    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    rank_zero_only.rank = rank  # which Lightning took from the environment of the server
    torch.set_num_threads(1)
    step = loop._step
    loop._step = lambda run, *rest, asked: step(run, *rest, asked=run.step + 1 == stop_at)
    try:
        tune(made, options(out, devices=2, strategy="ddp", resume=resume))
    except Interrupted as stop:
        sys.exit(0 if stop.quiet else 75)


def on_two_ranks(made, out, stop_at=None, resume=False):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [server.Process(target=one_of_two, args=(made, out, rank, port, stop_at, resume)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(600)
    return [process.exitcode for process in both]


def test_two_ranks_go_on_exactly_and_score_the_same_network(cache, tmp_path):
    """Batch norms see the share of their rank, so each rank has its own until all score together."""
    made = recipe(
        SEGMENT, data={"cache": str(cache)}, encoder={"norm": "batch"}, train={"batch": 4, "checkpoint_every": 6}
    )
    assert on_two_ranks(made, tmp_path / "straight") == [0, 0]
    assert on_two_ranks(made, tmp_path / "resumed", stop_at=4) == [75, 0]
    one, other = (rank["norms"] for rank in last(tmp_path / "resumed")["state"]["ranks"])
    assert not any(torch.equal(one[name], other[name]) for name in one if name.endswith("running_mean"))
    assert on_two_ranks(made, tmp_path / "resumed", resume=True) == [0, 0]
    ours, theirs = last(tmp_path / "resumed"), last(tmp_path / "straight")
    assert all(torch.equal(ours["weights"][name], tensor) for name, tensor in theirs["weights"].items())
    one, other = (rank["norms"] for rank in ours["state"]["ranks"])
    assert all(torch.equal(one[name], other[name]) for name in one)  # the last step was validated
    scores = [
        [r.get("metric.val_dice") for r in log.read(tmp_path / n / "metrics.jsonl")] for n in ("straight", "resumed")
    ]
    assert scores[0] == scores[1]
    with pytest.raises(InputError, match="the number of devices is 1, was 2"):
        tune(made, options(tmp_path / "resumed", resume=True))


def last(out):
    return checkpoint.load(out / "checkpoints" / "last.pt")


def test_a_pretraining_is_not_resumed_as_a_fine_tuning(cache, tmp_path):
    checkpoint.save(tmp_path / "checkpoints" / "last.pt", {"format": 1, "verb": "pretrain", "weights": {}})
    with pytest.raises(InputError, match="holds a pretrain run, which finetune cannot continue"):
        tune(recipe(SEGMENT, data={"cache": str(cache)}), options(tmp_path, resume=True))


def test_resume_needs_no_init_but_refuses_another_one(cache, straight, tmp_path):
    shutil.copytree(straight[0], tmp_path / "first")
    made = recipe(SEGMENT, data={"cache": str(cache)}, train={"steps": 2})
    run, first = tmp_path / "run", str(tmp_path / "first")
    results = tune(made, options(run, init=first))
    assert tune(made, options(run, init=first, resume=True)) == results
    for other in ("scratch", str(run)):
        with pytest.raises(InputError, match=rf"started from finetune, step \d, but init={other} gives other weights"):
            tune(made, options(run, init=other, resume=True))
    shutil.rmtree(first)
    assert tune(made, options(run, init=first, resume=True)) == results
    assert tune(made, options(run, resume=True)) == results


def test_no_path_is_in_any_file_of_a_run_but_its_recipe(cache, straight, tmp_path):
    named, out = tmp_path / "Doe_Jane_1960", tmp_path / "out"
    shutil.copytree(cache, named / "cache")
    shutil.copytree(straight[0], named / "run")
    tune(recipe(SEGMENT, data={"cache": str(named / "cache")}), options(out, init=str(named / "run")))
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "recipe.yaml"]
    assert {"last.pt", "best.pt", "train.log", "results.json", "manifest.lock"} <= {path.name for path in files}
    assert [path.name for path in files if named.name.encode() in path.read_bytes()] == []


def test_resume_of_another_recipe_is_refused(cache, straight):
    out, _ = straight
    with pytest.raises(InputError, match=r"train\.steps is 9, was 6"):
        tune(recipe(SEGMENT, data={"cache": str(cache)}, train={"steps": 9}), options(out, resume=True))


def test_init_gives_parts_and_tells_overlap(cache, straight, tmp_path):
    """From its own best weights: encoder and decoder are taken, the head is that of scratch; train patients overlap."""
    out, _ = straight
    made = recipe(SEGMENT, data={"cache": str(cache), "test": "train", "train": "test"}, train={"steps": 1})
    results = tune(made, options(tmp_path / "run", init=str(out)))
    assert "left out: head" in results["loaded"]
    assert results["overlap"]["comparable"]
    assert len(results["overlap"]["patients"]) == results["cases"]["test"]
    assert "not on unseen patients" in results["overlap"]["sentence"]


def test_pretrained_and_scratch_see_the_same_and_start_from_the_same_head(cache, straight):
    out, _ = straight
    made = recipe(SEGMENT, data={"cache": str(cache)})
    task = segment.build(spatial_dims=3, classes=2)
    models = []
    for init in ("scratch", str(out)):
        torch.manual_seed(0)
        model = loop.finetune_setup.network(made, task)
        init_weights.start(model, options(out, init=init), task.parts)
        models.append((model.state_dict(), torch.rand(1)))
    (scratch, after_scratch), (loaded, after_loaded) = models
    assert torch.equal(after_scratch, after_loaded)
    assert all(torch.equal(scratch[k], loaded[k]) for k in scratch if k.startswith("head."))
    assert not torch.equal(scratch["encoder.levels.0.conv1.weight"], loaded["encoder.levels.0.conv1.weight"])


def test_checkpoint_of_another_architecture_names_tensor_and_shapes(cache, straight, tmp_path):
    out, _ = straight
    made = recipe(SEGMENT, data={"cache": str(cache)}, encoder={"channels": [4, 16]})
    with pytest.raises(InputError, match=r"levels\.1.*\[8, .*\[16, "):
        tune(made, options(tmp_path / "run", init=str(out)))
    with pytest.raises(InputError, match="nose"):
        tune(recipe(SEGMENT, data={"cache": str(cache)}), options(tmp_path / "b", init=str(out), init_parts=["nose"]))


def test_a_pretraining_without_decoder_says_what_to_set(cache, straight, tmp_path):
    out, _ = straight
    content = checkpoint.load(out / "checkpoints" / "best.pt")
    content["weights"] = {k: v for k, v in content["weights"].items() if not k.startswith("decoder.")}
    checkpoint.save(tmp_path / "no_decoder.pt", content)
    made = recipe(SEGMENT, data={"cache": str(cache)}, train={"steps": 1})
    with pytest.raises(InputError, match=r"no decoder.*init_parts=\[encoder\]"):
        tune(made, options(tmp_path / "a", init=str(tmp_path / "no_decoder.pt")))
    results = tune(made, options(tmp_path / "b", init=str(tmp_path / "no_decoder.pt"), init_parts=["encoder"]))
    assert "of encoder" in results["loaded"]


def test_keys_that_differ_cannot_be_compared(cache):
    start = init_weights.Origin("pretrain, step 1", ["encoder"], 3, [], ["someone"], "other", None)
    found = init_weights.overlap(start, Cache(cache), ["a", "b"])
    assert not found["comparable"]
    assert "--key" in found["sentence"]
    assert init_weights.overlap(start._replace(cache=Cache(cache).hash), Cache(cache), ["a"])["comparable"]


def test_without_validation_the_last_is_best(cache, tmp_path):
    made = recipe(SEGMENT, data={"cache": str(cache), "val": None, "test": None}, train={"steps": 2})
    results = tune(made, options(tmp_path / "run"))
    assert results["chosen_by"] == "last step"
    assert results["test"]["cases"] == 0
    log_text = (tmp_path / "run" / "train.log").read_text()
    assert "no validation cases" in log_text
    assert "nothing was tested" in log_text


def test_subsets_by_file_and_their_leaks(cache, tmp_path):
    found = Cache(cache)
    file = tmp_path / "splits.json"
    file.write_text(json.dumps({"few": found.ids[:2], "rest": found.ids[2:], "both": found.ids[1:3]}))
    data = recipe(SEGMENT, data={"splits": str(file), "train": "few", "val": None, "test": "rest"}).data
    chosen = subsets(found, data, segment.labelled)
    assert chosen == {"train": found.ids[:2], "val": [], "test": found.ids[2:]}
    assert leaks(chosen, found) == []
    with pytest.raises(InputError, match="in train and in test"):
        subsets(found, data.model_copy(update={"test": "both"}), segment.labelled)


def test_leaks_are_said():
    fake = SimpleNamespace(
        cases={n: SimpleNamespace(patient=p, fingerprint="") for n, p in (("a", 1), ("b", 1), ("c", 2))}
    )
    assert leaks({"train": ["a"], "val": [], "test": ["b", "c"]}, fake) == [
        "1 of 2 test patients are also in train: split by patient"
    ]


def test_intervals_resample_patients():
    """Cases of one patient are no independent evidence: the same five times over, they tell no more than once."""
    task = segment.build(spatial_dims=2, classes=2)
    once = [{"id": str(i), "patient": f"p{i}", "dice": value} for i, value in enumerate((0.1, 0.4, 0.6, 0.9))]
    often = [{**row, "id": f"{row['id']}.{i}"} for row in once for i in range(5)]
    alone = [{**row, "patient": "p"} for row in once]
    five, one, none = (evaluate.table(task, rows, 0) for rows in (often, once, alone))
    for end in ("low", "high"):
        assert five["interval"][end] == pytest.approx(one["interval"][end])
        assert np.isnan(none["interval"][end]), "one patient shows no spread between patients"
    assert [found["patients"] for found in (five, one, none)] == [4, 4, 1]


def test_classification_writes_predictions(tmp_path):
    phantom_cache(tmp_path / "cache", 8, (32, 32), 0, "xray")
    results = tune(recipe(CLASSIFY, data={"cache": str(tmp_path / "cache")}), options(tmp_path / "run"))
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert results["settings"]["classes"] == ["normal", "opacity"]
    assert len(rows) == 2 * results["cases"]["test"]
    assert sum(float(row["probability"]) for row in rows[:2]) == pytest.approx(1, abs=1e-5)
    assert {row["label"] for row in rows} <= {"normal", "opacity"}
    assert "auc" in results["test"]["summary"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {"kind": "detect"}}, "task.kind=detect does not exist .there are: classify"),
        ({"task": {"pooled": "all"}}, "pooled"),
        ({"task": {"smoth": 1.0}}, "did you mean 'smooth'"),
        ({"augment": {"size": [16, 16]}}, "2 axes"),
        ({"augment": {"size": [16, 16, 15]}}, "15"),
        ({"augment": {"preset": "xrays"}}, "did you mean 'xray'"),
        ({"augment": {"foreground": 1.5}}, "share of the patches"),
        ({"train": {"batch": 3, "accumulate": 2}}, "cannot be divided"),
        ({"decoder": None}, "needs a decoder"),
        ({"encoder": {"kind": "tinny"}}, "tinny"),
    ],
)
def test_what_cannot_work_is_refused(cache, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        tune(recipe(SEGMENT, data={"cache": str(cache)}, **changes), options(tmp_path / "run"))
