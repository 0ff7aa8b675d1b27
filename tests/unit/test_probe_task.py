from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from finetuning import options
from sklearn.metrics import roc_auc_score

from medssl.benchmarking.loop import benchmark
from medssl.build import parts
from medssl.data.phantom.cases import phantom_cache
from medssl.finetuning.loop import finetune, tune
from medssl.metrics import segmentation
from medssl.probing import baselines, dense, features, frozen, linear
from medssl.recipe import BenchmarkRecipe, FinetuneRecipe, Options, validate
from medssl.types import InputError

PROBE = """
seed: 2
spatial_dims: 2
data: {cache: CACHE, train: train, val: val, test: test}
encoder: {kind: tiny, channels: [4, 8], norm: batch}
task: {kind: probe, untrained: 3}
augment: {size: [32, 32], preset: xray}
"""


def recipe(cache, **task):
    content = yaml.safe_load(PROBE.replace("CACHE", str(cache)))
    content["task"] |= task
    return validate(FinetuneRecipe, content, "recipe")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films") / "cache"
    return phantom_cache(folder, 30, (40, 36), 0, "xray")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """2D CT with lesion labels."""
    return phantom_cache(tmp_path_factory.mktemp("scans") / "cache", 12, (40, 36), 0, "ct")


@pytest.fixture(scope="module")
def probed(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("probed") / "run"
    made = recipe(films.path, shots=[1, 3], draws=2)
    finetune(made, options(out))
    return made, out, json.loads((out / "results.json").read_text())


def by_split(cache, split):
    return [case.id for case in cache.cases.values() if case.split == split]


def value(results, network, probe="logistic", kind="mean"):
    [found] = [
        row["value"]
        for row in results["beside"]
        if row["network"] == network and row["probe"] in (probe, "") and row["features"] in (kind, "pixels", "")
    ]
    return found


def by_hand(cache, encoder, pool):
    """The test AUC of a logistic regression on features of the encoder, C chosen on validation."""
    sets = {part: by_split(cache, part) for part in ("train", "val", "test")}
    x = {part: features.of_cache(encoder, cache, ids, (32, 32)).select(pool) for part, ids in sets.items()}
    y = {part: np.array([[c in cache.cases[i].classes for c in ("normal", "opacity")] for i in ids], float)
         for part, ids in sets.items()}  # fmt: skip
    probability = linear.fit(x["train"], y["train"], x["val"], y["val"]).predict(x["test"])
    return roc_auc_score(y["test"][:, 1], probability[:, 1]), probability


def test_scores_are_those_of_the_probe_on_frozen_features(films, probed):
    made, out, results = probed
    [net] = baselines.untrained(lambda: parts.encoder(made), [2]).values()  # scratch: the network of seed 2
    score, probability = by_hand(films, net, "mean")
    assert results["test"]["auc"] == pytest.approx(score)
    assert [row["probability.opacity"] for row in results["test"]["rows"]] == pytest.approx(probability[:, 1], abs=1e-5)
    assert value(results, "this encoder") == results["test"]["auc"]
    assert value(results, "this encoder", kind="all_levels") == pytest.approx(by_hand(films, net, "all_levels")[0])
    assert results["init"] == "scratch"
    assert (out / "predictions.csv").is_file()
    assert (out / "report.html").is_file()


def test_untrained_networks_pixels_and_prior_stand_beside(films, probed):
    made, _, results = probed
    nets = baselines.untrained(lambda: parts.encoder(made), range(3)).values()
    scores = [by_hand(films, net, "mean")[0] for net in nets]
    [row] = [
        r for r in results["beside"] if (r["network"], r["features"], r["probe"]) == ("untrained", "mean", "logistic")
    ]
    assert row["values"] == pytest.approx(scores)
    assert row["value"] == pytest.approx(np.mean(scores))
    assert row["sd"] == pytest.approx(np.std(scores, ddof=1))
    pixels, _ = by_hand(films, baselines.Pixels(), "mean")
    assert value(results, "8x8 pixels") == pytest.approx(pixels)
    assert value(results, "label prior") == 0.5
    assert {r["probe"] for r in results["beside"]} == {"logistic", "neighbours", ""}


def test_few_labels_are_drawn_several_times(probed):
    _, _, results = probed
    few = results["few_shot"]
    assert {row["shots"] for row in few} == {1, 3}
    assert {row["network"] for row in few} == {"this encoder", "untrained", "8x8 pixels"}
    assert all(len(row["values"]) == 2 for row in few)


def test_a_trained_encoder_is_taken_from_its_run_and_stays_as_it_is(films, tmp_path):
    from test_embed import data, pretraining

    from medssl.pretraining.loop import train

    learned = pretraining(2, "xray", 32).model_copy(update={"data": data(films.path)})
    train(learned, options(tmp_path / "run"))
    results = tune(recipe(films.path), options(tmp_path / "out", init=str(tmp_path / "run")))
    encoder = frozen.load(tmp_path / "run").encoder
    assert results["test"]["auc"] == pytest.approx(by_hand(films, encoder, "mean")[0])
    assert results["init"] == "pretrain, step 2"
    assert results["overlap"]["comparable"]


def test_dense_probes_tell_labels(scans, tmp_path):
    made = recipe(scans.path, of="labels", shots=[1], draws=2)
    made = made.model_copy(update={"augment": {"size": [32, 32], "preset": "ct"}})
    results = tune(made, options(tmp_path / "out"))
    [net] = baselines.untrained(lambda: parts.encoder(made), [2]).values()
    net.eval()

    def read(ids):
        label = lambda name: np.asarray(scans.label(name)[:])[0].astype(int)  # noqa: E731
        return dense.fields(lambda x: dense.stacked(net(x)), scans, ids, (32, 32), label)

    train, val, test = (by_split(scans, part) for part in ("train", "val", "test"))
    count = 1 + len(results["settings"]["classes"])
    masks = dense.few_shot(read, {"": train}, val, test, count)[""]
    scores = [np.nanmean(segmentation.dice(masks[i], scans.label(i)[:][0], count - 1)) for i in test]
    assert results["test"]["dice"] == pytest.approx(np.nanmean(scores))
    assert [row["network"] for row in results["beside"]] == ["this encoder", "untrained", "8x8 pixels", "label prior"]
    assert results["floor"]["dice"] == results["beside"][-1]["value"]
    assert len(results["few_shot"]) == 3


def test_benchmark_compares_probes(films, tmp_path):
    (tmp_path / "probe.yaml").write_text(PROBE.replace("CACHE", str(films.path)))
    content = {
        "inits": {"scratch": "scratch", "again": {"init": "scratch", "overrides": {"task": {"pool": "all_levels"}}}},
        "tasks": {"opacity": {"recipe": str(tmp_path / "probe.yaml"), "task": {"untrained": 1}}},
        "fractions": [1.0],
        "seeds": [2, 3],
    }
    benchmark(validate(BenchmarkRecipe, content, "benchmark"), Options(out=str(tmp_path / "out"), device="cpu"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    [net] = baselines.untrained(lambda: parts.encoder(recipe(films.path)), [3]).values()
    [line] = [one for one in lines if (one["init"], one["seed"]) == ("scratch", 3)]
    assert line["value"] == pytest.approx(by_hand(films, net, "mean")[0])
    assert {row["network"] for row in line["beside"]} == {"this encoder", "untrained", "8x8 pixels", "label prior"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["init"] for row in summary] == ["scratch", "again"]
    rows = [one["beside"][1]["value"] for one in lines if one["init"] == "scratch"]
    assert summary[0]["beside"]["untrained"] == pytest.approx(np.mean(rows))
    assert set(summary[1]["beside"]) == {"untrained", "8x8 pixels"}


def test_bad_requests_are_refused_in_one_sentence(films, tmp_path):
    for task, said in (
        ({"of": "labels"}, "no labelled case"),
        ({"level": 2}, "level is 2, but the encoder has levels 0"),
        ({"shots": [0]}, r"task.shots=\[0\]"),
        ({"shots": [50]}, "50 training images .* there are"),
        ({"classes": 3}, "give a list"),
        ({"pol": "mean"}, "unknown key 'pol'.*did you mean 'pool'"),
    ):
        with pytest.raises(InputError, match=said):
            tune(recipe(films.path, **task), options(tmp_path / "out"))
        assert not (tmp_path / "out" / "results.json").exists()
    with pytest.raises(InputError, match="runs on one device"):
        tune(recipe(films.path), Options(out=str(tmp_path / "o"), device="cpu", devices=2))
    content = yaml.safe_load(PROBE.replace("CACHE", "x")) | {"task": {"kind": "classify"}}
    with pytest.raises(InputError, match="is missing"):
        validate(FinetuneRecipe, content, "recipe")
