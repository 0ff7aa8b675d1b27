from __future__ import annotations

import json

import pytest
import torch
from finetuning import SEGMENT, options, recipe
from safetensors.torch import load_file

from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint
from medssl.export.safetensors import export
from medssl.finetuning.loop import tune
from medssl.types import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    phantom_cache(folder / "cache", 4, (16, 16, 16), 0, "ct")
    tune(recipe(SEGMENT, data={"cache": str(folder / "cache")}, train={"steps": 1}), options(folder / "run"))
    return folder / "run"


def test_what_is_exported_is_what_was_trained(run, tmp_path):
    out = export(run, tmp_path / "weights")
    weights = checkpoint.load(run / "checkpoints" / "best.pt")["weights"]
    found = {}
    for part in ("encoder", "decoder", "head"):
        found |= {f"{part}.{name}": tensor for name, tensor in load_file(out / f"{part}.safetensors").items()}
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_the_snippet_in_the_readme_loads_it(run, tmp_path, monkeypatch):
    out = export(run, tmp_path / "weights")
    snippet = (out / "README.md").read_text().split("```python")[1].split("```")[0]
    monkeypatch.chdir(out)
    names: dict = {}
    exec(snippet, names)
    config = json.loads((out / "config.json").read_text())
    count = sum(p.numel() for p in names["encoder"].parameters())
    assert config["parts"]["encoder"]["parameters"] == count
    assert len(names["encoder"](torch.rand(1, 1, 16, 16, 16))) == 2


def test_config_says_how_but_not_where(run, tmp_path):
    text = (export(run, tmp_path / "weights") / "config.json").read_text()
    config = json.loads(text)
    assert str(run.parent) not in text
    assert config["preprocessing"]["preset"] == "ct"
    assert config["recipe"]["task"]["classes"] == ["lesion"]


def test_the_exported_encoder_is_an_init(run, tmp_path):
    out = export(run, tmp_path / "weights")
    made = recipe(SEGMENT, data={"cache": str(run.parent / "cache")}, train={"steps": 1})
    start = options(tmp_path / "run", init=str(out / "encoder.safetensors"), init_parts=["encoder"])
    assert "of encoder" in tune(made, start)["loaded"]


def test_a_taken_folder_and_bare_weights_are_refused(run, tmp_path):
    out = export(run, tmp_path / "weights")
    with pytest.raises(InputError, match="not empty"):
        export(run, out)
    with pytest.raises(InputError, match="not a medssl checkpoint"):
        export(out / "encoder.safetensors", tmp_path / "again")
