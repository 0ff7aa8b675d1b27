from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from finetuning import options
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from test_embed import pretraining

from medssl.data.cache import Cache, case_from_json
from medssl.data.phantom.cases import phantom_cache
from medssl.pretraining.loop import pretrain, train
from medssl.probing import embed, online
from medssl.recipe import Options, load
from medssl.types import InputError

TIMES = ("time", "data_wait", "memory")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return phantom_cache(tmp_path_factory.mktemp("films") / "cache", 20, (40, 36), 0, "xray")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return phantom_cache(tmp_path_factory.mktemp("scans") / "cache", 8, (24, 24, 24), 0, "ct")


def recipe(cache, dims=2, preset="xray", steps=4):
    made = pretraining(dims, preset, 16)
    train_group = made.train.model_copy(update={"steps": steps})
    return made.model_copy(update={"data": made.data.model_copy(update={"cache": str(cache)}), "train": train_group})


def records(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def unprobed(lines):
    return [
        {name: value for name, value in line.items() if not name.startswith("metric.probe_")}
        for line in lines
        if line["step"]
    ]


def weights(out):
    return torch.load(out / "checkpoints" / "last.pt", weights_only=True)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_run_is_bit_for_bit_the_same_with_and_without_it(dims, films, scans, tmp_path):
    """Losses, weights, optimizers and random streams; in 3D with crop boxes, decoder and adversary."""
    for name, more in (("plain", {}), ("probed", {"probe": str((films, scans)[dims - 2].path), "probe_every": 1})):
        torch.manual_seed(99)
        if dims == 2:
            made = recipe(films.path)
        else:
            words = ["train.steps=6", "train.batch=2", "views.size=[16,16,16]", "crop.start=2", "crop.every=2"]
            words += ["restore.start=2", "adversary.start=4", f"data.cache={scans.path}", "data.phantom=null"]
            made, _ = load("pretrain", "phantom_tiny", words)
        train(made, options(tmp_path / name, **more))
    plain, probed = records(tmp_path / "plain"), records(tmp_path / "probed")
    assert unprobed(probed) == unprobed(plain)
    assert len(probed) == len(plain) + 1  # step 0: the network before training
    assert all(any(name.startswith("metric.probe_") for name in line) for line in probed)
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "probed")
    for part in ("weights", "optimizers", "state"):
        assert_same(one[part], other[part])
    assert one["recipe"] == other["recipe"]


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def test_its_scores_are_those_of_a_probe_of_the_checkpoint(films, tmp_path):
    pretrain(recipe(films.path), options(tmp_path / "run", probe=str(films.path), probe_every=0.5))
    lines = [line for line in records(tmp_path / "run") if "metric.probe_auc" in line]
    assert [line["step"] for line in lines] == [0, 2, 4]
    for line, untrained in ((lines[0], {"untrained": True, "seed": 3}), (lines[2], {})):
        found = embed.embed(tmp_path / "run", [films.path], pool="all_levels", device="cpu", **untrained)
        x = dict(zip(found.ids, found.features, strict=True))
        sets = [[case for case in films.cases.values() if case.split == part] for part in ("train", "val")]
        scaler = StandardScaler().fit([x[case.id] for case in sets[0]])
        features = [scaler.transform([x[case.id] for case in cases]) for cases in sets]
        truth = [["opacity" in case.classes for case in cases] for cases in sets]
        model = LogisticRegression(C=online.STRENGTH, tol=1e-8, max_iter=10000).fit(features[0], truth[0])
        expected = roc_auc_score(truth[1], model.predict_proba(features[1])[:, 1])
        assert line["metric.probe_auc"] == pytest.approx(expected)
    assert (tmp_path / "run" / "train.log").read_text().count("linear probe of the frozen features: auc") == 3
    assert "probe" not in yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())


def test_a_run_that_goes_on_has_one_curve(films, tmp_path, monkeypatch):
    from contextlib import contextmanager

    from medssl.pretraining import loop
    from medssl.types import Interrupted

    given = {"probe": str(films.path), "probe_every": 1}
    train(recipe(films.path), options(tmp_path / "straight", **given))

    @contextmanager
    def asked(*_):
        yield lambda: True

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", asked)
        with pytest.raises(Interrupted):
            train(recipe(films.path), options(tmp_path / "run", **given))
    train(recipe(films.path), options(tmp_path / "run", resume=True, **given))
    assert records(tmp_path / "run") == records(tmp_path / "straight")


def test_a_cache_without_the_splits_is_halved_by_patient_and_its_test_cases_are_left_alone(films):
    of = {case.id: case for case in films.cases.values()}
    bare = [case._replace(split="") for case in of.values() if case.split != "test"]
    sets = online._sets(bare)
    assert abs(len(sets["train"]) - len(sets["val"])) <= 1
    assert sorted(sets["train"] + sets["val"]) == sorted(case.id for case in bare)
    made = online.prepare(str(films.path), 0.1, 100, [(16, 16), (32, 32)], 1)
    assert {of[name].split for name in made.sets["train"]} == {"train"}
    assert {of[name].split for name in made.sets["val"]} == {"val"}
    assert (made.size, made.every, made.names) == ((32, 32), 10, ("normal", "opacity"))
    assert [step for step in range(1, 26) if made.due(step, 25)] == [10, 20, 25]


def test_labels_of_voxels_are_probed_where_there_are_no_classes(scans, tmp_path):
    records = {name: json.loads((scans.path / "cases" / f"{name}.json").read_text()) for name in scans.ids}
    stripped = Cache(scans.path)
    for name, record in records.items():
        stripped.cases[name] = case_from_json(record["case"])._replace(classes=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online, "Cache", lambda folder: stripped)
        probe = online.prepare(str(scans.path), 0.5, 4, [(16, 16, 16)], 1)
    assert probe.names == ()

    class Bright(torch.nn.Module):
        """Features that hold the lesion mask itself give Dice 1, noise does not."""

        def __init__(self):
            super().__init__()
            self.seen = 0

        def forward(self, x):
            ids = [*probe.sets["train"], *probe.sets["val"]]
            masks = []
            for _ in range(len(x)):
                label = torch.from_numpy(np.asarray(scans.label(ids[self.seen])[:])[None].astype(np.float32))
                masks.append(torch.nn.functional.interpolate(label, (64, 64, 64), mode="nearest")[0])
                self.seen += 1
            return (torch.stack(masks),)

    assert probe.scores(Bright(), "cpu")["metric.probe_dice"] > 0.95


def test_bad_requests_are_refused_in_one_sentence(films, scans, tmp_path):
    with pytest.raises(InputError, match=r"3D images of 1 channel.*2D views"):
        train(recipe(films.path), options(tmp_path / "a", probe=str(scans.path)))
    with pytest.raises(InputError, match="is not a cache"):
        train(recipe(films.path), options(tmp_path / "b", probe=str(tmp_path)))
    phantom_cache(tmp_path / "cells", 3, (32, 32), 0, "pathology")
    with pytest.raises(InputError, match="3 channel"):
        train(recipe(films.path), options(tmp_path / "c", probe=str(tmp_path / "cells")))
    assert Options(probe="x").probe_every == 0.1
