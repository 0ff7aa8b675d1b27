"""Nothing that is not finite is learned from or kept, and what hinders a run from learning is said."""

from __future__ import annotations

import math

import pytest
import torch

from medssl import recipe as recipes
from medssl.engine import checkpoint, players
from medssl.pretraining import loop
from medssl.runtime import finite
from medssl.types import InputError

RECIPE = """
seed: 5
spatial_dims: 3
data: {phantom: {cases: 6, size: [16, 16, 16]}}
views: {size: [8, 8, 8], count: 1, preset: ct, intensity: []}
crop: {kind: random}
encoder: {kind: tiny, channels: [4, 8]}
decoder: {kind: unet, norm: group}
restore: {weight: 10.0}
optimizers:
  main: {kind: sgd, lr: 0.01}
train: {steps: 3, batch: 4, checkpoint_every: 1}
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def train(tmp_path):
    (tmp_path / "small.yaml").write_text(RECIPE)

    def train(out, *overrides):
        loaded = recipes.load("pretrain", str(tmp_path / "small.yaml"), [f"out={tmp_path / out}", *overrides])
        return loop.train(*loaded)

    return train


def test_losses_are_blamed_before_what_they_spoil_and_diagnostics_never():
    fine = {"loss.a": 1.0, "metric.m": math.nan, "the gradient of main": 1.0}
    assert finite.not_finite(fine) == []
    assert finite.not_finite(fine | {"loss.a": math.nan, "the gradient of main": math.nan}) == ["loss.a"]
    assert finite.not_finite(fine | {"the gradient of main": math.inf}) == ["the gradient of main"]


def test_the_player_whose_gradient_it_is_is_named():
    said = finite.sentence(["the gradient of bank"], 7, ["main", "bank"], ["ct-1", "ct-1", "ct-2"])
    assert "is not finite at step 7 with the samples ct-1, ct-2: look" in said
    assert "lower optimizers.bank.lr" in said


def test_an_adversary_is_blamed_only_where_it_alone_is_ill():
    both = finite.sentence(["loss.discrimination", "loss.bank"], 7, ["main", "bank"])
    assert "lower optimizers.main.lr" in both
    assert "optimizers.bank.lr" in finite.sentence(["loss.bank"], 7, ["main", "bank"])


def test_no_rate_is_blamed_before_the_first_step_and_no_checkpoint_promised():
    said = finite.sentence([finite.TOTAL, "the gradient of main"], 0, ["main"], ["ct-1"])
    assert "lower the weights of losses; the step was not made" in said
    assert "lr" not in said
    assert "checkpoint" not in said


@pytest.mark.parametrize("parts", [1, 2])
def test_a_gradient_that_is_not_finite_makes_no_step(train, tmp_path, monkeypatch, parts):
    norms = players.norms

    def poison(optimizers):
        weight = optimizers["main"].param_groups[0]["params"][0]
        if (tmp_path / "a" / "checkpoints" / "step_2.pt").exists():
            weight.grad[(0,) * weight.ndim] = math.inf
        return norms(optimizers)

    monkeypatch.setattr(loop.players, "norms", poison)
    monkeypatch.setattr(loop.players, "step", made := Counted(players.step))
    with pytest.raises(InputError, match=r"^the gradient of main is not finite at step 2 with the samples ct-"):
        train("a", f"train.accumulate={parts}")
    assert made.calls == 2
    assert checkpoint.load(tmp_path / "a" / "checkpoints" / "last.pt")["state"]["step"] == 2


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def test_a_sum_of_losses_that_overflows_makes_no_step(train, tmp_path):
    with pytest.raises(InputError, match=r"weighted sum of losses.* at step 0 .*lower the weights of losses"):
        train("a", "restore.weight=1e40")
    assert not (tmp_path / "a" / "checkpoints").exists()


@pytest.mark.parametrize("steps", [1, 3])
def test_weights_that_a_step_made_too_large_are_not_saved(train, tmp_path, steps):
    with pytest.raises(InputError, match=r"encoder.* cannot be used after step 1, .*was not saved"):
        train("a", "optimizers.main.lr=1e30", f"train.steps={steps}")
    assert not (tmp_path / "a" / "checkpoints").exists()


def test_running_statistics_are_watched_as_weights_are(train, tmp_path):
    run = train("a", "train.steps=1", "encoder.norm=batch")
    run.pretext.encoder.levels[0].norm1.running_var[0] = math.nan
    with pytest.raises(InputError, match=r"^encoder.levels.0.norm1.running_var of the network"):
        finite.check_weights(run.fabric, run.pretext, 1)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("restore.weight=.inf", "'weight' in restore should be a finite number, but inf"),
        ("restore.weight=1e400", "'weight' in restore should be a finite number, but inf"),
        ("restore.weight=.nan", "'weight' in restore should be a finite number, but nan"),
        ("optimizers.main.lr=.inf", "'optimizers.main.lr' should be a finite number"),
        ("optimizers.main.weight_decay=.nan", "'optimizers.main.weight_decay' should be a finite number"),
        ("optimizers.main.final_lr=0.02", "final_lr=0.02 above lr=0.01"),
    ],
)
def test_numbers_that_cannot_work_are_refused(train, override, told):
    with pytest.raises(InputError, match=told):
        train("a", override)
