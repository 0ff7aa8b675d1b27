"""Inits of a benchmark: which parts of a pretraining they load, and weights of other tools."""

from __future__ import annotations

import json

import pytest
import torch
from finetuning import CLASSIFY, SEGMENT, options
from made_runs import pretraining
from monai.networks.nets.resnet import ResNet, get_inplanes

from medssl.benchmarking import grid
from medssl.benchmarking.grid import Cell
from medssl.benchmarking.loop import benchmark
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint, log
from medssl.recipe import BenchmarkRecipe, Options, validate
from medssl.types import InputError


def recipe(folder, text, size, inits):
    phantom_cache(folder / "cache", 6 if len(size) == 3 else 10, size, 0, "ct" if len(size) == 3 else "xray")
    (folder / "task.yaml").write_text(text)
    task = {"recipe": str(folder / "task.yaml"), "data": {"cache": str(folder / "cache")}}
    task |= {"encoder": "auto", "train": {"steps": 1, "validate_every": 1}}
    content = {"inits": inits, "tasks": {"t": task}, "fractions": [1], "seeds": [0]}
    return validate(BenchmarkRecipe, content, "benchmark")


def parted(folder, **inits):
    made = recipe(folder, SEGMENT, (16, 16, 16), inits)
    made.tasks["t"]["decoder"] = "auto"
    return made


def origins(out):
    """Of each init: what its run says it loaded."""
    made = {line["init"]: Cell(line["task"], line["init"], line["fraction"], line["seed"]) for line in log.read(out)}
    files = {name: checkpoint.find(out.parent / cell.folder) for name, cell in made.items()}
    return {name: checkpoint.load(file)["state"]["origin"] for name, file in files.items()}


def test_an_init_says_which_parts_it_loads(tmp_path):
    run = str(pretraining(tmp_path / "run", {"kind": "tiny", "channels": [4, 8]}))
    inits = {"scratch": "scratch", "encoder_only": {"init": run, "parts": ["encoder"]}, "both": {"init": run}}
    benchmark(parted(tmp_path, **inits), options(tmp_path / "out"))
    found = origins(tmp_path / "out" / "results.jsonl")
    assert found["encoder_only"]["parts"] == ["encoder"]
    assert "decoder" in found["encoder_only"]["left_out"]
    assert found["both"]["parts"] == ["encoder", "decoder"]
    assert found["both"]["loaded"] > found["encoder_only"]["loaded"] > found["scratch"]["loaded"] == 0
    lines = {line["init"]: line for line in log.read(tmp_path / "out" / "results.jsonl")}
    assert [lines[name]["init_parts"] for name in inits] == [None, ["encoder"], None]


def test_other_parts_are_another_cell(tmp_path):
    run = str(pretraining(tmp_path / "run", {"kind": "tiny", "channels": [4, 8]}))
    one = {"init": run, "parts": "encoder"}
    benchmark(parted(tmp_path, scratch="scratch", pre=one), options(tmp_path / "out"))
    before = (tmp_path / "out" / "results.jsonl").read_text()
    wider = parted(tmp_path, scratch="scratch", pre={"init": run, "parts": ["encoder", "decoder"]})
    with pytest.raises(InputError, match=r"t/pre/1.0/seed0 was made with other values of init_parts: undo"):
        benchmark(wider, options(tmp_path / "out", resume=True))
    assert (tmp_path / "out" / "results.jsonl").read_text() == before
    benchmark(parted(tmp_path, scratch="scratch", pre=one), options(tmp_path / "out", resume=True))
    assert (tmp_path / "out" / "results.jsonl").read_text() == before, "the same parts are the same cell"


def test_parts_of_an_init_rule_over_those_of_the_command(tmp_path):
    made = parted(tmp_path, scratch="scratch", own={"init": "run", "parts": ["encoder"]}, plain="run")
    given = Options(init_parts=["encoder", "decoder"])
    asked = {name: grid.options(made, Cell("t", name, "1.0", 0), given).init_parts for name in made.inits}
    assert asked == {"scratch": given.init_parts, "own": ["encoder"], "plain": given.init_parts}


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"init": "scratch", "parts": ["encoder"]}, r"inits.odd loads nothing from scratch"),
        ({"init": "run", "parts": []}, r"inits.odd.parts is \[\]: give the parts"),
        ({"init": "run", "parts": [1]}, r"inits.odd.parts is \[1\]: give the parts"),
        ({"init": 3}, r"inits.odd is .*: give a run"),
    ],
)
def test_parts_that_cannot_be_are_refused(tmp_path, init, message):
    with pytest.raises(InputError, match=message):
        benchmark(parted(tmp_path, odd=init), options(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_weights_of_other_tools_are_an_init(tmp_path):
    """A 2D ResNet-18 as MONAI and torchvision save it; scratch takes its network, too."""
    torch.manual_seed(0)
    net = ResNet("basic", [2, 2, 2, 2], get_inplanes(), spatial_dims=2, n_input_channels=3, num_classes=7)
    torch.save(net.state_dict(), tmp_path / "resnet18.pt")
    inits = {"scratch": "scratch", "foreign": str(tmp_path / "resnet18.pt")}
    benchmark(recipe(tmp_path, CLASSIFY, (32, 32), inits), options(tmp_path / "out"))
    found = origins(tmp_path / "out" / "results.jsonl")
    assert found["foreign"]["init"] == "a 2D ResNet (torchvision, timm) of depth 18"
    assert found["foreign"]["parts"] == ["encoder"]
    assert found["foreign"]["loaded"] > 100
    assert found["scratch"]["loaded"] == 0
    scratch, foreign = log.read(tmp_path / "out" / "results.jsonl")
    assert scratch["init_from"] == "scratch:scratch"
    assert foreign["init_from"].startswith("foreign:")
    assert str(tmp_path) not in json.dumps(foreign)
