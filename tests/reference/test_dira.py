"""DiRA's step (Haghighi et al. 2022) in the published order is one backward over all players; what it reduces to."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.testing import assert_close

from medssl.branches import adversary, restore
from medssl.methods import adco, moco_v2
from medssl.models.decoder import unet
from medssl.models.discriminator import PatchDiscriminator
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.types import Views

WEIGHTS = {"discrimination": 1.0, "restoration": 10.0, "adversarial": 0.001}


def made(method: str = "moco_v2", parts: int = 2, **settings: Any) -> Pretext:
    """A pretext in float64: `parts` 0 method alone, 1 with restore, 2 with adversary too."""
    torch.manual_seed(0)
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    size: dict[str, Any] = {"queue": 8} if method == "moco_v2" else {"negatives": 8, "init": "gaussian"}
    build = moco_v2.build if method == "moco_v2" else adco.build
    base = build(encoder=net, hidden=6, dim=4, momentum=0.9, **{**size, **settings})
    branches: dict[str, nn.Module] = {}
    if parts:
        branches["decoder"] = unet.build(
            spatial_dims=2, channels=net.channels, strides=net.strides, widths=[4, 4], norm="group"
        )
        branches["restore"] = restore.build(spatial_dims=2, in_channels=4, out_channels=1)
    if parts == 2:
        judge = PatchDiscriminator(2, 1, base_channels=4)
        branches["adversary"] = adversary.Adversary(judge, "least_squares")
    return Pretext(net, method=base, **branches).double()


def batches(count: int) -> list[Views]:
    generator = torch.Generator().manual_seed(7)
    found = []
    for step in range(count):
        x = tuple(torch.rand(4, 1, 12, 12, generator=generator, dtype=torch.float64) for _ in range(2))
        target = torch.rand(4, 1, 12, 12, generator=generator, dtype=torch.float64)
        ids = 4 * step + torch.arange(4)
        found.append(Views(x, target, target > 0.5, ids, ids))
    return found


def optimizers(pretext: Pretext) -> dict[str, torch.optim.Optimizer]:
    """As released: SGD for the generator, Adam for the discriminator; AdCo's for the bank."""
    made: dict[str, torch.optim.Optimizer] = {}
    for name, parameters in pretext.players().items():
        if name == "discriminator":
            made[name] = torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))
        else:
            lr = 3.0 if name == "bank" else 0.03
            made[name] = torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=1e-4)
    return made


def train(pretext: Pretext, weights: dict[str, float], steps: int) -> dict[str, torch.Tensor]:
    players = optimizers(pretext)
    for views in batches(steps):
        found = pretext(views)
        total = sum(weights[name] * value for name, value in found.main.items()) + sum(found.adversaries.values())
        total.backward()
        for player in players.values():
            player.step()
            player.zero_grad(set_to_none=True)
        pretext.after_step()
    return {name: value.clone() for name, value in pretext.state_dict().items()}


def train_as_published(pretext: Pretext, steps: int) -> dict[str, torch.Tensor]:
    """Generator with the current discriminator frozen, its step, then the discriminator on the same reconstruction."""
    net, method, judge = pretext.encoder, pretext.method, pretext.adversary.discriminator
    average = method.key_encoder
    players = optimizers(pretext)
    theta = [*net.parameters(), *method.head.parameters()]
    theta_k = [*average.encoder.parameters(), *average.head.parameters()]
    queue, pointer = method.queue.clone(), 0

    def embed(encoder: nn.Module, head: nn.Module, x: torch.Tensor) -> torch.Tensor:
        z = head(encoder(x)[-1].mean((2, 3)))
        return z / z.norm(dim=1, keepdim=True)

    for views in batches(steps):
        features = net(views.x[0])
        z = method.head(features[-1].mean((2, 3)))
        q = z / z.norm(dim=1, keepdim=True)
        with torch.no_grad():
            for a, b in zip(theta_k, theta, strict=True):
                a.copy_(0.9 * a + 0.1 * b)
            k = embed(average.encoder, average.head, views.x[1])
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.2
        reconstruction = pretext.restore.head(pretext.decoder(features, (12, 12)))
        judge.requires_grad_(False)
        loss = cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
        loss = loss + 10 * (reconstruction - views.target).square().mean()
        loss = loss + 0.001 * (judge(reconstruction) - 1).square().mean()
        players["main"].zero_grad()
        loss.backward()
        players["main"].step()
        queue[pointer : pointer + 4], pointer = k, (pointer + 4) % 8
        judge.requires_grad_(True)
        players["discriminator"].zero_grad()
        real, fake = judge(views.target), judge(reconstruction.detach())
        (0.5 * ((real - 1).square().mean() + fake.square().mean())).backward()
        players["discriminator"].step()
    return {name: value for name, value in pretext.state_dict().items() if "key_encoder" not in name} | {
        "method.queue": queue
    }


def test_five_steps_of_the_players_are_five_steps_of_the_published_order() -> None:
    ours, theirs = train(made(), WEIGHTS, 5), train_as_published(made(), 5)
    for name, value in theirs.items():
        if name not in ("method.pointer", "method.sample", "method.patient"):  # bookkeeping of ours
            assert_close(ours[name], value, atol=1e-10, rtol=0, msg=name)


@pytest.mark.parametrize("method", ["moco_v2", "adco"])
def test_branches_of_weight_zero_reduce_to_the_method_over_20_steps(method: str) -> None:
    alone, whole = made(method, parts=0), made(method)
    whole.encoder.load_state_dict(alone.encoder.state_dict())
    whole.method.load_state_dict(alone.method.state_dict())
    expected = train(alone, WEIGHTS, 20)
    found = train(whole, {"discrimination": 1.0, "restoration": 0.0, "adversarial": 0.0}, 20)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_adversary_of_weight_zero_reduces_to_restoration_over_20_steps() -> None:
    expected = train(made(parts=1), WEIGHTS, 20)
    found = train(made(), WEIGHTS | {"adversarial": 0.0}, 20)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_adco_with_a_frozen_bank_and_no_batch_keys_is_moco_with_a_frozen_queue() -> None:
    moco, adco = made("moco_v2", parts=0), made("adco", parts=0, temperature=0.2, in_batch_negatives=False)
    adco.encoder.load_state_dict(moco.encoder.state_dict())
    adco.method.head.load_state_dict(moco.method.head.state_dict())
    moco.method.queue.copy_(normalize(moco.method.queue, dim=1))  # drawn in float32
    adco.method.bank.data.copy_(moco.method.queue)
    moco.begin()
    adco.begin()
    (views,) = batches(1)
    for pretext in (moco, adco):
        pretext(views).main["discrimination"].backward()
    assert_close([p.grad for p in adco.players()["main"]], [p.grad for p in moco.players()["main"]], atol=1e-12, rtol=0)


def test_the_weight_of_discrimination_does_not_scale_the_banks_gradient() -> None:
    gradients = []
    for weight in (1.0, 0.01):
        pretext, (views,) = made("adco"), batches(1)
        found = pretext(views)
        total = weight * found.main["discrimination"] + found.adversaries["bank"] + found.adversaries["discriminator"]
        total.backward()
        gradients.append(pretext.method.bank.grad)
    assert torch.equal(*gradients)


def test_adversaries_move_the_same_whether_they_step_first_or_last() -> None:
    """The bank's step and the discriminator's commute with the encoder's: each gradient is taken before any step."""
    results = []
    for order in (1, -1):
        pretext = made("adco")
        players = list(optimizers(pretext).values())[::order]
        found = pretext(batches(1)[0])
        (sum(found.main.values()) + sum(found.adversaries.values())).backward()
        for player in players:
            player.step()
        results.append(pretext.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


Players = dict[str, torch.optim.Optimizer]


def enter(pretext: Pretext, step: int) -> Players:
    """The stage of `step`: the bank joins once 2 steps of 4 samples have filled its 8 rows."""
    pretext.activate({name for name in pretext.names() if name != "bank" or step >= 2})
    return optimizers(pretext)


def load(players: Players, states: dict[str, Any]) -> None:
    for name, state in states.items():
        players[name].load_state_dict(state)


def states(players: Players) -> dict[str, Any]:
    return {name: copy.deepcopy(player.state_dict()) for name, player in players.items()}


def advance(pretext: Pretext, players: Players, steps: range) -> Players:
    for step, views in enumerate(batches(steps.stop)):
        if step not in steps:
            continue
        if step == 2:
            held, players = states(players), enter(pretext, step)
            load(players, held)
        found = pretext(views)
        (sum(WEIGHTS[n] * v for n, v in found.main.items()) + sum(found.adversaries.values())).backward()
        for player in players.values():
            player.step()
            player.zero_grad(set_to_none=True)
        pretext.after_step()
    return players


@pytest.mark.parametrize("stop", [1, 10])
def test_stopped_saved_and_loaded_is_the_straight_run(stop: int) -> None:
    straight, stopped, again = (made("adco", init="keys") for _ in range(3))
    advance(straight, enter(straight, 0), range(20))
    players = advance(stopped, enter(stopped, 0), range(stop))
    again.load_state_dict(copy.deepcopy(stopped.state_dict()))
    resumed = enter(again, stop)
    load(resumed, states(players))
    advance(again, resumed, range(stop, 20))
    expected, found = straight.state_dict(), again.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
