"""The library: what `import medssl` gives, that it is quiet, and that it makes what the command line makes."""

from __future__ import annotations

import inspect
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

import medssl
from medssl import api, cli
from medssl.data.phantom.files import write_ct_dataset
from medssl.engine import checkpoint
from medssl.recipe import Options, load, parse
from medssl.runs import RunOptions

torch.set_num_threads(1)

SMALL = {
    "train.steps": 2,
    "train.batch": 2,
    "views.size": (16, 16, 16),
    "crop.start": "1 step",
    "crop.every": "1 step",
    "restore.start": "50%",
    "adversary.start": 1,
    "method.init": "gaussian",
    "data.phantom": {"cases": 5, "size": [24, 24, 24]},
}
TUNED = {"train.steps": 2, "train.batch": 2, "augment.size": [16, 16, 16], "data.phantom": SMALL["data.phantom"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return medssl.pretrain("phantom_tiny", SMALL, out=tmp_path_factory.mktemp("api") / "run", device="cpu")


@pytest.fixture(scope="module")
def tuned(run):
    return medssl.finetune("phantom_tiny", TUNED, init=run, out=run.out.parent / "tuned", device="cpu")


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_import_brings_no_torch_and_asking_for_a_verb_neither():
    code = f"import medssl, sys\nfor name in {[n for n in medssl.__all__ if n in dir(api)]}: getattr(medssl, name)\n"
    assert python(code + "print([n for n in ('torch', 'monai', 'numpy', 'pandas') if n in sys.modules])") == ["[]"]


def test_every_name_is_there_and_is_listed():
    for name in medssl.__all__:
        assert getattr(medssl, name) is not None
    assert set(medssl.__all__) == set(dir(medssl)) >= {name for name in cli_verbs() if name in vars(api)}
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        medssl.pretrian  # noqa: B018


def test_type_checkers_see_what_python_gives():
    seen = {line.strip(" ,") for line in inspect.getsource(medssl).split("_WHERE")[0].splitlines()}
    for name in set(medssl.__all__) - {"__version__"}:
        assert any(name in line.replace("import", ",").split(", ") or line == name for line in seen), name


def test_no_function_has_the_name_of_a_subpackage():
    rooms = {path.parent.name for path in Path(medssl.__file__).parent.glob("*/__init__.py")}
    assert not rooms & {name for name in medssl.__all__ if inspect.isfunction(getattr(api, name, None))}


def cli_verbs():
    return [command.name or command.callback.__name__ for command in cli.app.registered_commands]


def test_run_options_are_those_of_the_command_line():
    assert set(get_type_hints(RunOptions)) | {"check"} == set(Options.model_fields)


def test_a_run_is_an_object_and_a_path(run):
    assert run.verb == "pretrain"
    assert run.recipe["train"]["steps"] == 2
    assert (run.recipe["restore"]["start"], run.recipe["crop"]["start"]) == (0.5, 1)
    assert [record["step"] for record in run.metrics] == [1, 2]
    assert run.checkpoint == run.out / "checkpoints" / "last.pt"
    assert run.report.is_file()
    assert Path(run) == run.out
    assert run.results is None


def test_the_command_line_makes_the_same_run(run, tmp_path, monkeypatch):
    words = [f"{key}={json.dumps(value)}" for key, value in SMALL.items()]
    monkeypatch.setattr(sys, "argv", ["medssl", "pretrain", "phantom_tiny", *words, f"out={tmp_path}", "device=cpu"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    ours, theirs = (checkpoint.load(medssl.Run(place).checkpoint) for place in (run, tmp_path))
    assert ours["recipe"] == theirs["recipe"]
    assert all(torch.equal(ours["weights"][name], theirs["weights"][name]) for name in theirs["weights"])


def test_nothing_is_printed_and_who_listens_hears(run, tuned, tmp_path, capfd, said):
    write_ct_dataset(tmp_path / "scans", cases=3, size=(24, 24, 24))
    said()
    medssl.scan(tmp_path / "scans" / "images", tmp_path / "manifest.csv", labels=tmp_path / "scans" / "labels")
    medssl.prepare(tmp_path / "manifest.csv", tmp_path / "cache", preset="ct")
    assert len(medssl.convert(tmp_path / "manifest.csv", tmp_path / "nifti")) == 3
    assert len(medssl.open_cache(tmp_path / "cache").cases) == 3
    data = {"data.phantom": None, "data.cache": tmp_path / "cache"}
    medssl.preview("phantom_tiny", SMALL | data, out=tmp_path / "views.png")
    medssl.finetune("phantom_tiny", TUNED, init=run, out=tuned, resume=True, device="cpu")
    medssl.predict(tuned, tmp_path / "scans" / "images" / "case_000.nii.gz", tmp_path / "masks", device="cpu")
    medssl.write_report([run, tuned], tmp_path / "report.html")
    medssl.export_weights(run, tmp_path / "weights")
    assert capfd.readouterr() == ("", "")
    assert "1 images predicted" in said()


def test_without_anyone_listening_python_prints_no_warning_either(run, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medssl"), "propagate", False)
    with pytest.raises(medssl.InputError):
        medssl.pretrain("phantom_tiny", {**SMALL, "train.checkpoint_every": 1.0}, out=run)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: medssl.pretrain("phantom_tny", out="x"), "did you mean 'phantom_tiny'"),
        (lambda: medssl.pretrain("phantom_tiny"), "out is missing"),
        (lambda: medssl.pretrain("phantom_tiny", "train.steps=3", out="x"), "'train.steps=3' is text"),
        (lambda: medssl.pretrain("phantom_tiny", {"train.stps": 3}, out="x"), "did you mean 'steps'"),
        (lambda: medssl.pretrain({"train": {"steps": 3}}, out="x"), "the recipe: .* is missing"),
        (lambda: medssl.finetune("phantom_tiny", out="x", init="nowhere"), "nowhere does not exist"),
        (lambda: medssl.benchmark("phantom_tiny", out="x", devices=2), "devices"),
        (lambda: medssl.open_cache("nowhere"), "is not a cache"),
        (lambda: medssl.load_encoder("nowhere"), "does not exist"),
        (lambda: medssl.write_report([]), "at least one"),
        (lambda: medssl.list_recipes("pretrian"), "did you mean 'pretrain'"),
    ],
)
def test_what_cannot_work_raises_an_error_of_one_sentence(call, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(medssl.InputError, match=told) as error:
        call()
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_may_be_given_as_its_groups(tmp_path):
    [listed] = [one for one in medssl.list_recipes("pretrain") if one.name == "phantom_tiny"]
    content = parse(listed.path.read_text(), "")
    before = json.dumps(content)
    assert load("pretrain", content, SMALL)[0] == load("pretrain", "phantom_tiny", SMALL)[0]
    assert json.dumps(content) == before, "what the caller holds is left alone"


def test_an_encoder_is_the_one_that_was_trained(run, tmp_path):
    encoder = medssl.load_encoder(run)
    weights = checkpoint.load(run.checkpoint)["weights"]
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(tensor, weights[f"encoder.{name}"])
    assert not encoder.training
    assert encoder.preprocessing["preset"] == "ct"
    x = torch.rand(2, encoder.in_channels, 32, 32, 32)
    found = encoder(x)
    assert [one.shape[1] for one in found] == list(encoder.channels)
    exported = medssl.load_encoder(medssl.export_weights(run, tmp_path / "weights"))
    assert all(torch.equal(a, b) for a, b in zip(found, exported(x), strict=True))
    assert exported.preprocessing == encoder.preprocessing


def test_weights_without_a_recipe_are_no_encoder(run, tmp_path):
    torch.save(checkpoint.load(run.checkpoint)["weights"], tmp_path / "weights.pt")
    with pytest.raises(medssl.InputError, match="has weights without a recipe"):
        medssl.load_encoder(tmp_path / "weights.pt")


def test_a_model_predicts_images_of_any_size(tuned):
    model = medssl.load_model(tuned)
    assert (len(model.classes), model.size, model.in_channels) == (1, (16, 16, 16), 1)
    x = torch.rand(1, 1, 20, 24, 28)
    found = model.probabilities(x)
    assert found.shape == (1, 2, 20, 24, 28)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 20, 24, 28))
    assert model(x[..., :16, :16, :16]).shape == (1, 2, 16, 16, 16)
    assert set(tuned.results["test"]) >= {"dice", "interval"}
    with pytest.raises(medssl.InputError, match="needs a fine-tuned network"):
        medssl.load_model(tuned.out.parent / "run")
