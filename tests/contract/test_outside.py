"""A part of one's own is one file outside the package, named by a dotted kind: it holds to the laws, a command runs it.

The files lie in the folder `outside` beside this one, which is no part of medssl.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

import medssl
from medssl import cli, kinds, testing, transforms
from medssl.data.phantom.cases import phantom_cache

torch.set_num_threads(1)

PRETRAIN = {
    "spatial_dims": 2,
    "views": {"size": [16, 16], "preset": "xray"},
    "crop": {"kind": "random"},
    "encoder": {"kind": "tiny", "channels": [4, 8]},
    "method": {"kind": "simsiam", "hidden": 16, "dim": 16, "bottleneck": 16},
    "optimizers": {"main": {"kind": "sgd", "lr": 0.01}},
    "train": {"steps": 4, "batch": 4},
}
FINETUNE = {
    "spatial_dims": 3,
    "encoder": {"kind": "tiny", "channels": [4, 8]},
    "decoder": {"kind": "unet", "norm": "group", "skips": "add", "final": "shuffle"},
    "augment": {"size": [16, 16, 16], "preset": "ct"},
    "optimizers": {"main": {"kind": "sgd", "lr": 0.01}},
    "train": {"steps": 2, "batch": 2},
}
SPLITS = {"train": "train", "val": "val", "test": "test"}
PARTS = {
    "byol": testing.check_method,
    "shading": testing.check_transform,
    "plain": testing.check_encoder,
    "hottest": testing.check_crop,
    "anything": testing.check_task,
    "npz": testing.check_exporter,
}
PRETRAINED = {
    "byol": {"method": {"kind": "outside.byol", "dim": 16}},
    "shading": {"views": {**PRETRAIN["views"], "intensity": [{"kind": "outside.shading", "strength": 0.3}]}},
    "plain": {"encoder": {"kind": "outside.plain", "width": 4}},
    "hottest": {"crop": {"kind": "outside.hottest"}},
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_in_one_file_holds_to_the_laws(name):
    module = import_module(f"outside.{name}")
    assert not Path(module.__file__).is_relative_to(Path(medssl.__file__).parent)
    PARTS[name](f"outside.{name}")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("byol", "method"),
        ("shading", "intensity"),
        ("plain", "encoder"),
        ("hottest", "crop"),
        ("anything", "task"),
        ("npz", "export"),
    ],
)
def test_the_same_file_in_the_folder_of_the_package_is_all_that_is_needed(name, group, tmp_path, monkeypatch):
    """Nothing else in the package lists it: it is found on disk, and its transform is exported as well."""
    package = import_module(kinds.PACKAGES[group])
    shutil.copy(Path(__file__).parent / "outside" / f"{name}.py", tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    try:
        assert name in kinds.kinds(group)
        assert Path(kinds.resolve(group, name).__file__).parent == tmp_path
        assert ("RandShadingd" in transforms._found()) is (group == "intensity")
    finally:
        sys.modules.pop(f"{package.__name__}.{name}", None)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    made = {}
    for dims, preset in ((2, "xray"), (3, "ct")):
        made[dims] = tmp_path_factory.mktemp(f"cache{dims}") / "cache"
        phantom_cache(made[dims], 6, (24,) * dims, 0, preset)
    return made


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run a command of the command line, on a recipe in a file where one is given."""

    def run(*words: str, recipe: dict | None = None) -> None:
        if recipe is not None:
            (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
            words = (words[0], str(tmp_path / "recipe.yaml"), *words[1:])
        monkeypatch.setattr(sys, "argv", ["medssl", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code

    return run


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_pretraining_runs_with_it(name, caches, tmp_path, command):
    recipe = {**PRETRAIN, "data": {"cache": str(caches[2])}, **PRETRAINED[name]}
    command("pretrain", f"out={tmp_path / 'run'}", "device=cpu", recipe=recipe)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert f"outside.{name}" in (tmp_path / "run" / "recipe.yaml").read_text()
    if name == "hottest":
        assert [line.get("metric.times_set") for line in lines] == [None, None, 1.0, None]
    command("export", str(tmp_path / "run"), "--to", "outside.npz", "--out", str(tmp_path / "weights"))
    exported = import_module("outside.npz").load(tmp_path / "weights")
    weights = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["weights"]
    assert all(torch.equal(tensor, weights[f"encoder.{key}"]) for key, tensor in exported.items())


def test_a_fine_tuning_runs_with_a_task_of_ones_own(caches, tmp_path, command):
    recipe = {**FINETUNE, "data": {"cache": str(caches[3]), **SPLITS}, "task": {"kind": "outside.anything"}}
    command("finetune", f"out={tmp_path / 'run'}", "device=cpu", recipe=recipe)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["task"] == "outside.anything"
    assert set(results["test"]["summary"]) == {"dice", "dice.anything"}
