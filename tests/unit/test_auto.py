"""What a recipe leaves to auto is what data and weights say; what they contradict is refused, before anything runs."""

from __future__ import annotations

import pytest
import torch
import yaml
from finetuning import SEGMENT

from medssl import api
from medssl.benchmarking import grid
from medssl.benchmarking.grid import Cell
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint
from medssl.recipe import FRAMES, BenchmarkRecipe, validate
from medssl.recipe import load as bare
from medssl.recipe.auto import Known, allowed, settle
from medssl.runtime.known import load
from medssl.types import InputError

torch.set_num_threads(1)

PRETRAIN = {
    "views": {"size": [16, 16, 16], "count": 2},
    "crop": {"kind": "random"},
    "encoder": {"kind": "tiny", "channels": [4, 8]},
    "decoder": {"kind": "unet", "norm": "group", "skips": "add", "convs": 1, "final": "shuffle"},
    "restore": {},
    "optimizers": {"main": {"kind": "adamw", "lr": 0.001}},
    "train": {"steps": 1, "batch": 2},
}
FINETUNE = {
    "data": {"train": "train", "val": "val", "test": "test"},
    "task": {"kind": "segment", "classes": 2},
    "augment": {"size": [16, 16, 16]},
    "optimizers": PRETRAIN["optimizers"],
    "train": PRETRAIN["train"],
}
CACHES = {"ct": (24, 24, 24), "mr": (24, 24, 24), "xray": (32, 32), "pathology": (32, 32)}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    root = tmp_path_factory.mktemp("caches")
    return {name: phantom_cache(root / name, 5, size, 0, name) for name, size in CACHES.items()}


@pytest.fixture(scope="module")
def run(caches, tmp_path_factory):
    out = tmp_path_factory.mktemp("auto") / "run"
    return api.pretrain(PRETRAIN, {"data.cache": caches["mr"]}, out=out, device="cpu")


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_says_preset_dimension_and_channels(name, caches):
    size = [16] * len(CACHES[name])
    recipe, _ = load("pretrain", PRETRAIN, {"data.cache": caches[name], "views.size": size, "channels": "auto"})
    assert recipe.spatial_dims == len(CACHES[name])
    assert recipe.channels == (3 if name == "pathology" else 1)
    assert recipe.views.get("preset", "ct") == name


def test_without_data_the_size_says_the_dimension():
    assert bare("pretrain", PRETRAIN)[0].spatial_dims == 3
    several = {**PRETRAIN, "views": {"size": [[16, 16], [8, 8]], "count": 2}}
    assert bare("pretrain", several)[0].spatial_dims == 2
    assert "preset" not in bare("pretrain", PRETRAIN, ["views.preset=auto"])[0].views


def test_a_manifest_that_is_not_prepared_says_its_modality(tmp_path):
    from medssl.data.phantom.files import write_ct_dataset

    write_ct_dataset(tmp_path / "scans", cases=2, size=(24, 24, 24))
    api.scan(tmp_path / "scans" / "images", tmp_path / "manifest.csv")
    text = (tmp_path / "manifest.csv").read_text()
    assert ",CT," in text
    assert "preset" not in load("pretrain", PRETRAIN, {"data.manifest": tmp_path / "manifest.csv"})[0].views
    (tmp_path / "manifest.csv").write_text(text.replace(",CT,", ",MR,"))
    assert load("pretrain", PRETRAIN, {"data.manifest": tmp_path / "manifest.csv"})[0].views["preset"] == "mr"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"views.preset": "ct"}, "views.preset is ct, but .* was prepared as mr"),
        ({"channels": 2}, r"has 1 channel\(s\), but channels is 2"),
        ({"spatial_dims": 2, "views.size": [16, 16]}, "has 3 axes, but spatial_dims is 2"),
    ],
)
def test_what_the_cache_contradicts_is_refused_by_run_dry_run_and_preview(asked, told, caches, tmp_path):
    settings = {"data.cache": caches["mr"], **asked}
    for options in ({}, {"dry_run": True}):
        with pytest.raises(InputError, match=told):
            api.pretrain(PRETRAIN, settings, out=tmp_path / "run", device="cpu", **options)
    with pytest.raises(InputError, match=told):
        api.preview(PRETRAIN, settings, out=tmp_path / "views.png")
    assert list(tmp_path.iterdir()) == []


def test_a_finetuning_takes_the_network_of_its_weights(run, caches):
    recipe, _ = load("finetune", FINETUNE, {"data.cache": caches["mr"], "init": run})
    made = checkpoint.load(run.checkpoint)["recipe"]
    assert (recipe.encoder, recipe.decoder) == (made["encoder"], made["decoder"])
    assert recipe.augment["preset"] == "mr"
    settings = {"data.cache": caches["mr"], "init": run, "task": {"kind": "classify"}}
    assert load("finetune", FINETUNE, settings)[0].decoder is None, "a task that wants none gets none"


def test_auto_finetuning_equals_the_one_that_names_all(run, caches, tmp_path):
    data = {"data.cache": caches["mr"]}
    made = checkpoint.load(run.checkpoint)["recipe"]
    named = {**FINETUNE, "spatial_dims": 3, "channels": 1, "encoder": made["encoder"], "decoder": made["decoder"]}
    named["augment"] = {**FINETUNE["augment"], "preset": "mr"}
    ours = api.finetune(FINETUNE, data, out=tmp_path / "a", init=run, device="cpu")
    theirs = api.finetune(named, data, out=tmp_path / "b", init=run, device="cpu")
    ours, theirs = (checkpoint.load(one.checkpoint) for one in (ours, theirs))
    assert ours["recipe"] == theirs["recipe"]
    assert all(torch.equal(ours["weights"][name], tensor) for name, tensor in theirs["weights"].items())


def test_weights_may_be_exported_and_moved(run, tmp_path):
    folder = api.export_weights(run, tmp_path / "weights")
    recipe, _ = load("finetune", FINETUNE, {"init": folder / "encoder.safetensors", "init_parts": ["encoder"]})
    assert recipe.encoder == checkpoint.load(run.checkpoint)["recipe"]["encoder"]


def test_another_network_than_that_of_the_weights_is_refused(run, tmp_path):
    for group, ours, told in (
        ("encoder", {"kind": "tiny", "channels": [4, 16]}, r"channels=\[4, 16\], but .* channels=\[4, 8\]"),
        ("encoder", {"kind": "resnet", "depth": 18}, "kind=resnet, but .* kind=tiny"),
        ("decoder", {"kind": "unet", "norm": "instance"}, "skips=concat, but .* skips=add"),
    ):
        with pytest.raises(InputError, match=f"{group} has .*{told}.*: set {group}=auto"):
            load("finetune", FINETUNE, {group: ours, "init": run})
    other = {"decoder": {"kind": "unet", "norm": "instance"}, "init": run, "init_parts": "encoder"}
    assert load("finetune", FINETUNE, other)[0].decoder["norm"] == "instance", "it is not loaded"
    with pytest.raises(InputError, match=r"the images are 2D, but init=.* a 3D network"):
        load("finetune", FINETUNE, {"spatial_dims": 2, "init": run})


def test_from_scratch_the_network_must_be_named(tmp_path):
    with pytest.raises(InputError, match="encoder=auto uses the network of init=RUN"):
        load("finetune", FINETUNE, ["init=scratch"])


def test_in_a_benchmark_scratch_has_the_network_of_the_others(run, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(FINETUNE))
    content = {
        "inits": {"scratch": "scratch", "pretrained": str(run.out)},
        "tasks": {"segment": {"recipe": str(tmp_path / "mine.yaml")}},
        "fractions": [1.0],
        "seeds": [0],
    }
    recipe = validate(BenchmarkRecipe, content, "benchmark")
    one, other = (grid.settings(recipe, Cell("segment", init, "1.0", 0), []) for init in content["inits"])
    assert one == other
    assert one.encoder["channels"] == [4, 8]


def test_a_resumed_run_keeps_what_it_began_with(run, caches):
    """Its cache may have moved, and what auto gives may have changed since; it is the run that counts."""
    recipe, _ = load("pretrain", PRETRAIN, {"data.cache": caches["ct"], "out": run, "resume": True})
    assert recipe.views["preset"] == "mr"


def test_defaults_that_changed_since_a_run_stay_as_they_were():
    known = Known(3, 1, "ct", seeing={"corrupt_for": "all"})
    assert settle("pretrain", PRETRAIN, known)["views"]["corrupt_for"] == "all"
    asked = {**PRETRAIN, "views": {**PRETRAIN["views"], "corrupt_for": "restore"}}
    assert settle("pretrain", asked, known)["views"]["corrupt_for"] == "restore"


def test_what_is_named_keeps_its_hash():
    recipe = yaml.safe_load(SEGMENT)
    assert bare("finetune", recipe)[0].hash() == validate(FRAMES["finetune"], recipe, "recipe").hash()


def test_the_schema_allows_auto_where_a_recipe_may_say_it():
    for verb, keys in (
        ("pretrain", {"spatial_dims", "channels"}),
        ("finetune", {"spatial_dims", "encoder", "decoder"}),
    ):
        schema = allowed(verb, FRAMES[verb].model_json_schema())
        assert not keys & set(schema["required"])
        assert all({"const": "auto"} in schema["properties"][key]["anyOf"] for key in keys)
    assert "encoder" in allowed("pretrain", FRAMES["pretrain"].model_json_schema())["required"]
