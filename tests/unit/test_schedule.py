from __future__ import annotations

import pytest
import torch

from medssl.engine import players
from medssl.engine.schedule import OptimizerSpec, Weight, learning_rate
from medssl.recipe import Optimizer


def spec(**keys):
    return OptimizerSpec(**dict(Optimizer(**{"kind": "sgd", "lr": 0.03, **keys})))


def test_weight_is_off_before_its_start_and_ramps_linearly():
    weight = Weight(10.0, start=5, warmup=4)
    assert [weight(step) for step in (0, 4, 5, 6, 7, 8, 9, 100)] == [0, 0, 2.5, 5.0, 7.5, 10, 10, 10]
    assert [Weight(10.0, start=5)(step) for step in (4, 5)] == [0, 10]
    assert Weight(0.0)(50) == 0


def test_weight_is_off_again_from_its_end():
    weight = Weight(10.0, start=2, warmup=2, end=5)
    assert [weight(step) for step in (1, 2, 3, 4, 5, 6)] == [0, 5, 10, 10, 0, 0]


@pytest.mark.parametrize(("epoch", "lr"), [(0, 0.03), (50, 0.0256945), (100, 0.0153), (199, 0.000601814)])
def test_cosine_to_adcos_floor(epoch, lr):  # methods.md 6.1 (xiv)
    assert learning_rate(spec(final_lr=6e-4), epoch, 200) == pytest.approx(lr, rel=1e-5)


@pytest.mark.parametrize(("epoch", "lr"), [(50, 0.0256066), (100, 0.015), (199, 1.8505e-6)])
def test_cosine_to_zero(epoch, lr):  # methods.md 6.2
    assert learning_rate(spec(), epoch, 200) == pytest.approx(lr, rel=1e-4)


def test_constant_rate_and_linear_warmup():
    constant = spec(schedule="constant", warmup=4)
    assert [learning_rate(constant, step, 10) for step in (0, 1, 3, 4, 9)] == pytest.approx(
        [0.0075, 0.015] + [0.03] * 3
    )
    cosine = spec(warmup=0.2)  # after the warm-up the cosine runs over what is left
    assert learning_rate(cosine, 20, 100) == pytest.approx(0.03)
    assert learning_rate(cosine, 60, 100) == pytest.approx(0.015)


def test_a_player_that_goes_on_keeps_its_state_and_a_new_parameter_starts_fresh():
    old, new, bank = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    specs = {"main": spec(momentum=0.9), "bank": spec(momentum=0.9)}
    before = players.rebuild({"main": [old]}, specs, {})
    old.grad = torch.ones(2)
    players.step(before, specs, players.norms(before))
    assert old.grad is None
    after = players.rebuild({"main": [old, new], "bank": [bank]}, specs, before)
    assert torch.equal(after["main"].state[old]["momentum_buffer"], torch.ones(2))
    assert new not in after["main"].state
    assert bank not in after["bank"].state


def test_each_player_is_clipped_by_its_own_norm():
    quiet, loud = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    quiet.grad, loud.grad = torch.tensor([0.3, 0.4]), torch.tensor([30.0, 40.0])
    specs = {"main": spec(lr=1.0, clip=1.0), "bank": spec(lr=1.0, clip=1.0)}
    both = players.rebuild({"main": [quiet], "bank": [loud]}, specs, {})
    norms = players.norms(both)
    assert {name: norm.item() for name, norm in norms.items()} == pytest.approx({"main": 0.5, "bank": 50.0})
    players.step(both, specs, norms)
    torch.testing.assert_close(quiet.data, torch.tensor([-0.3, -0.4]))
    torch.testing.assert_close(loud.data, torch.tensor([-0.6, -0.8]))


def test_rates_are_set_by_player():
    specs = {"main": spec(), "bank": spec(lr=3.0, schedule="constant")}
    both = players.rebuild({name: [torch.nn.Parameter(torch.zeros(1))] for name in specs}, specs, {})
    players.set_rates(both, {name: [learning_rate(spec, 100, 200)] for name, spec in specs.items()})
    assert players.rates(both) == pytest.approx({"main": 0.015, "bank": 3.0})
