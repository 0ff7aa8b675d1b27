"""`medssl doctor`: what it says of a machine, of missing packages and of a recipe."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from medssl import __version__
from medssl.planning import affordable, speed
from medssl.runtime.known import load
from medssl.types import InputError
from medssl.verbs import doctor

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


def test_the_estimate_names_each_stage_and_sums_its_steps(asked, capsys, monkeypatch):
    real = speed._timed
    small = lambda parts, on, batch, device: real(parts, on, 2, device, speed.smallest(parts))  # noqa: E731
    monkeypatch.setattr(speed, "_timed", small)
    assert doctor.doctor("phantom_tiny") == 0
    said = capsys.readouterr().out
    found = re.findall(r"from step (\d+): ([\d.e-]+) s a step of 6 samples \((.*)\)", said)
    assert [(start, losses) for start, _, losses in found] == [
        ("0", "discrimination"),
        ("30", "discrimination, restoration"),
        ("90", "adversarial, discrimination, restoration"),
    ]
    assert re.search(r"150 steps would take about .* on this device", said)


def stage(start, stop, seconds):
    return speed.Stage(start, stop, ("discrimination",), seconds)


def test_hours_are_the_sum_over_stages():
    assert speed.Speed([stage(0, 10, 36.0), stage(10, 30, 90.0)], 0.0, 2, None).hours == pytest.approx(0.6)


def test_views_that_workers_make_cost_nothing_while_the_network_is_slower(monkeypatch):
    monkeypatch.setattr(speed, "_flops", lambda parts, on, sizes, device: 1)
    monkeypatch.setattr(speed, "_timed", lambda parts, on, batch, device, sizes=None: 2.0)
    monkeypatch.setattr(speed, "_views_seconds", lambda parts: 0.5)
    taken = {}
    for workers in (0, 1, 2):
        recipe, _ = load("pretrain", "moco_v2_tiny_2d", {"channels": 1, "data.workers": workers, "train.batch": 8})
        taken[workers] = speed.measure(recipe, torch.device("cpu")).stages[0].seconds
    step = 2.0 / 2 * 8  # two samples were timed
    assert taken == {0: step + 4.0, 1: step, 2: step}


def test_a_gpu_recipe_on_a_cpu_is_refused_with_its_cost_and_the_tiny_recipe(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(affordable.speed, "rough_hours", lambda recipe, device: 48.0)
    recipe, options = load("pretrain", "dira_adco_ccrop_3d", ["channels=1", "views.preset=ct"])
    with pytest.raises(InputError, match=r"would take this CPU about 2 d\. Use dira_adco_ccrop_tiny_3d .*force=true"):
        affordable.check(recipe, options)
    for given in ("force", "dry_run", "resume", "overfit_check"):
        affordable.check(recipe, options.model_copy(update={given: True}))
    monkeypatch.setattr(affordable.speed, "rough_hours", lambda recipe, device: 0.1)
    affordable.check(recipe, options)


def test_a_tiny_recipe_is_not_even_timed(monkeypatch):
    monkeypatch.setattr(affordable.speed, "rough_hours", None)
    affordable.check(*load("pretrain", "phantom_tiny", []))


@pytest.mark.parametrize(
    ("name", "tiny"),
    [
        ("dira_2d", "dira_tiny_2d"),
        ("dira_adco_ccrop_3d", "dira_adco_ccrop_tiny_3d"),
        ("adco_multicrop_2d", "adco_tiny_2d"),
    ],
)
def test_the_tiny_recipe_is_that_of_the_same_method(name, tiny):
    assert affordable.tiny(load("pretrain", name, ["channels=1"])[0]) == tiny


def test_only_pretraining_recipes_are_estimated(asked, capsys):
    with pytest.raises(InputError, match="there is no pretrain recipe 'segment_3d'"):
        doctor.doctor("segment_3d")
