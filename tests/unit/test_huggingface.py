"""The folder for the Hub: what is in it, and that it comes back bit for bit."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys

import made_runs
import pytest
import torch
import yaml
from safetensors import safe_open

import medssl
from medssl import export_weights
from medssl.build import finetune_setup, parts
from medssl.engine import checkpoint
from medssl.export import overrides
from medssl.models import weights
from medssl.recipe import Options
from medssl.recipe.auto import Known
from medssl.runtime import init_weights
from medssl.runtime.known import load
from medssl.types import InputError

RESENC = {"kind": "resenc", "stages": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_runs.pretraining(tmp_path_factory.mktemp("hub") / "run", RESENC)


@pytest.fixture(scope="module")
def exported(run):
    told = {"name": "A net", "license": "cc-by-4.0", "data": "Phantoms."}
    return export_weights(run, run.parent / "hub", to="huggingface", **told)


def test_the_encoder_comes_back_bit_for_bit(run, exported):
    before, after = medssl.load_encoder(run), medssl.load_encoder(exported)
    mine, theirs = before.state_dict(), after.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    x = torch.rand(1, 1, 32, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(before(x), after(x), strict=True))
    assert after.preprocessing == before.preprocessing


def test_each_tensor_is_stored_once_and_every_name_comes_back(run, exported):
    saved = checkpoint.load(checkpoint.find(run))["weights"]
    wanted = {name for name in saved if name.split(".")[0] in ("encoder", "decoder")}
    with safe_open(exported / "model.safetensors", "pt") as file:
        stored = set(file.keys())
    assert not [name for name in stored if ".all_modules." in name]
    assert [name for name in wanted if ".all_modules." in name]
    read = weights.read(exported / "model.safetensors")
    assert read.keys() == wanted
    assert all(torch.equal(read[name], saved[name]) for name in wanted)
    size = sum(saved[name].numel() * 4 for name in stored)
    assert (exported / "model.safetensors").stat().st_size < size + 200_000


def test_the_card_says_what_is_known_and_no_place(run, exported):
    text = (exported / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert (about["license"], about["library_name"]) == ("cc-by-4.0", "medssl")
    assert "3d" in about["tags"]
    digest = hashlib.sha256((exported / "model.safetensors").read_bytes()).hexdigest()
    assert digest in body
    assert json.loads((exported / "config.json").read_text())["sha256"] == {"model.safetensors": digest}
    assert "Phantoms." in body
    assert "0" * 64 in body
    assert "private" not in "".join(path.read_text() for path in exported.glob("*.json")) + body
    assert json.loads((exported / "preprocessing.json").read_text())["window"] == [-1000.0, 1000.0]


def test_the_figures_of_a_finetuning_stand_in_the_card(run, tmp_path):
    results = {"task": "segment", "score": "dice", "init": "pretrain, step 2", "floor": {"dice": 0.1}}
    results["test"] = {"cases": 7, "patients": 5, "dice": 0.8125, "interval": {"low": 0.75, "high": 0.9}}
    (tmp_path / "segment").mkdir()
    (tmp_path / "segment" / "results.json").write_text(json.dumps(results))
    out = export_weights(run, tmp_path / "hub", to="huggingface", results=[str(tmp_path / "segment")])
    text = (out / "README.md").read_text()
    assert "| segment | pretrain, step 2 | 7 | 5 | dice | 0.8125 | 0.7500 to 0.9000 | 0.1000 |" in text
    index = yaml.safe_load(text.split("---\n")[1])["model-index"]
    assert index[0]["results"][0]["metrics"] == [{"type": "dice", "value": 0.8125}]
    assert str(tmp_path) not in text
    with pytest.raises(InputError, match=r"has no results\.json"):
        export_weights(run, tmp_path / "again", to="huggingface", results=[str(tmp_path)])


def test_unknown_settings_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="unknown key 'licence' in --to huggingface"):
        export_weights(run, tmp_path / "hub", to="huggingface", licence="mit")
    with pytest.raises(InputError, match="unknown key 'name' in --to safetensors"):
        export_weights(run, tmp_path / "hub", to="safetensors", name="x")


def test_a_file_that_is_not_the_configs_is_refused(run, exported, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in exported.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="are damaged"):
        medssl.load_encoder(copy)


def test_the_folder_is_an_init_with_its_decoder(run, exported):
    saved = checkpoint.load(checkpoint.find(run))["weights"]
    net = parts.pretext(parts.validate(load("pretrain", checkpoint.load(checkpoint.find(run))["recipe"])[0], samples=4))
    origin = init_weights.start(net, Options(init=str(exported)), ["encoder", "decoder"])
    assert origin.parts == ["encoder", "decoder"]
    assert all(torch.equal(net.state_dict()[name], saved[name]) for name in saved if name.startswith(("enc", "dec")))


def test_own_weights_are_found_by_name(exported, monkeypatch):
    monkeypatch.setattr(sys.modules["medssl.recipe.shipped"], "folder", lambda name: exported.parent)
    assert medssl.load_encoder("medssl:hub").strides == medssl.load_encoder(exported).strides
    with pytest.raises(InputError, match=r"comes with no weights called 'hup'; did you mean 'hub'"):
        medssl.load_encoder("medssl:hup")


@pytest.mark.parametrize("name", ["segment_tiny_3d", "classify_tiny_2d", "localize_tiny_2d"])
def test_the_command_in_the_card_of_a_finetuning_does_as_well(name):
    dims = 3 if name.endswith("3d") else 2
    theirs = Known(dims, 1, "ct", {"kind": "tiny", "channels": [8, 16]}, {"kind": "unet"})
    changes = ["train.steps=77", "task.classes=[lesion]", f"augment.size={[32] * dims}", "optimizers.main.lr=3e-4"]

    def resolved(name, words):
        recipe = medssl.recipe.load("finetune", name, words, lambda *_: theirs)[0]
        return {**finetune_setup.resolved(recipe, recipe.task), "data": None}

    wanted = resolved(name, changes)
    verb, found, *words = overrides.command("finetune", {**wanted, "data": {}})
    assert verb == "finetune"
    assert resolved(found, words) == wanted


@pytest.mark.parametrize("name", ["dira_tiny_2d", "phantom_tiny", "moco_v2_tiny_3d"])
def test_the_command_in_the_card_makes_the_same_recipe(name):
    changes = ["train.steps=77", "encoder={kind: resnet, depth: 50}", "optimizers.main.lr=3e-4", "crop.scale=[0.3,1.0]"]
    wanted = parts.resolved(load("pretrain", name, changes)[0])
    verb, found, *words = shlex.split(shlex.join(overrides.command("pretrain", wanted)))
    again = parts.resolved(load(verb, found, words)[0])
    for content in (wanted, again):
        content.pop("data")
    assert again == wanted
