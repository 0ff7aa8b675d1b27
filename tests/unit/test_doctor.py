"""`medssl doctor`: what it says of a machine, of missing packages and of a recipe."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from medssl import __version__
from medssl.build import parts
from medssl.types import InputError
from medssl.verbs import doctor
from medssl.views import build as build_views

torch.set_num_threads(1)
REQUIRED = ["torch>=2.8", "numpy>=2.0", "types-PyYAML; extra == 'dev'"]


@pytest.fixture
def asked(monkeypatch):
    """As if medssl were installed with the packages of REQUIRED."""
    monkeypatch.setattr(doctor, "requires", lambda name: REQUIRED)


def test_a_machine_that_has_all_is_described(asked, capsys):
    assert doctor.doctor(None) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"medssl {__version__}, Python 3.")
    assert f"cores: {len(os.sched_getaffinity(0))}, memory: " in said
    assert f"  torch {version('torch')}\n  numpy {version('numpy')}\n" in said
    assert "types-PyYAML" not in said, "extras are not required"
    assert ("CUDA device 0" in said) == torch.cuda.is_available()
    memory = float(re.search(r"memory: ([\d.]+) GiB", said)[1])
    assert 0.1 < memory < 100_000


def test_a_missing_package_is_named_and_the_exit_code_says_so(asked, capsys, monkeypatch):
    def without(name: str) -> str:
        if name == "numpy":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", without)
    assert doctor.doctor("phantom_tiny") == 2
    said = capsys.readouterr().out
    assert "numpy is MISSING: pip install numpy" in said
    assert "recipe phantom_tiny" not in said, "nothing is estimated while packages are missing"


def test_a_source_folder_that_is_not_installed_is_no_fault(capsys, monkeypatch):
    def nothing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", nothing)
    assert doctor.doctor(None) == 0
    assert "pip install -e ." in capsys.readouterr().out


def test_the_estimate_counts_the_parameters_of_the_recipe_and_multiplies_its_steps(asked, capsys):
    assert doctor.doctor("phantom_tiny") == 0
    said = capsys.readouterr().out
    from medssl.recipe import load

    recipe, _ = load("pretrain", "phantom_tiny", [])
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in parts.pretrain_parts(recipe).pretext.parameters())
    assert f"recipe phantom_tiny: {count / 1e6:.2f} M parameters" in said
    seconds = float(re.search(r"one step of 2 sample\(s\) took ([\d.]+) s", said)[1])
    steps, batch = recipe.train.steps, recipe.train.batch
    hours = float(re.search(rf"{steps} steps of {batch} samples would take about ([\d.]+) hours", said)[1])
    assert hours == pytest.approx(seconds * batch / 2 * steps / 3600, abs=0.06)


def test_views_of_several_sizes_are_timed_as_they_are():
    maker = build_views(spatial_dims=2, size=[[8, 6], [4, 4]])
    views = doctor._views(2, maker, 3, torch.device("cpu"))
    assert [x.shape for x in views.x] == [(3, 2, 8, 6), (3, 2, 4, 4)]
    assert (views.target.shape, views.mask.shape) == ((3, 2, 8, 6), (3, 1, 8, 6))
    assert views.corrupted.shape == (3, 2, 8, 6)


def test_only_pretraining_recipes_are_estimated(asked, capsys):
    with pytest.raises(InputError, match="no pretrain recipe is called 'segment_3d'"):
        doctor.doctor("segment_3d")
