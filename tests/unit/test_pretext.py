from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medssl.branches import adversary, restore
from medssl.methods import adco, barlow_twins, moco_v2, simsiam
from medssl.models.decoder import unet
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.types import InputError, Views

METHODS = {"adco": adco, "moco_v2": moco_v2, "simsiam": simsiam, "barlow_twins": barlow_twins, None: None}
ALL = {"discrimination", "restoration", "adversarial", "bank", "discriminator"}


def make_method(name: str | None, net: nn.Module, **settings: Any) -> Any:
    if name is None:
        return None
    size = {"adco": {"negatives": 6, "init": "gaussian"}, "moco_v2": {"queue": 6}}.get(name, {"batch": 3})
    return METHODS[name].build(encoder=net, hidden=6, dim=4, **{**size, **settings})


def make(
    name: str | None = "adco",
    *,
    spatial_dims: int = 2,
    parts: int = 2,
    seed: int = 0,
    norm: Any = "group",
    **settings: Any,
) -> Pretext:
    """A pretext in float64: `parts` 0 method alone, 1 with restore, 2 with adversary too."""
    torch.manual_seed(0)
    net = tiny.build(spatial_dims=spatial_dims, in_channels=1, channels=(4, 8), norm=norm)
    branches: dict[str, Any] = {}
    if parts:
        decoder = unet.build(spatial_dims=spatial_dims, channels=net.channels, strides=net.strides, norm="group")
        branches["decoder"] = decoder
        branches["restore"] = restore.build(spatial_dims=spatial_dims, in_channels=decoder.out_channels, out_channels=1)
    if parts == 2:
        branches["adversary"] = adversary.build(spatial_dims=spatial_dims, in_channels=1)
    return Pretext(net, method=make_method(name, net, **settings), **branches).double()


def batch(count: int = 3, views: int = 2, spatial_dims: int = 2, side: int = 12) -> Views:
    generator = torch.Generator().manual_seed(1)
    shape = (count, 1, *[side] * spatial_dims)
    x = tuple(torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(views))
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    return Views(x, target, target > 0.5, torch.arange(count), torch.arange(count))


def gradients(pretext: Pretext) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in pretext.named_parameters() if p.grad is not None}


def backward(pretext: Pretext, weights: dict[str, float], views: Views) -> dict[str, torch.Tensor]:
    pretext.zero_grad(set_to_none=True)
    found = pretext(views)
    main = [weights[name] * value for name, value in found.main.items()]
    torch.stack([*main, *found.adversaries.values()]).sum().backward()
    return gradients(pretext)


@pytest.mark.parametrize("name", ["moco_v2", "barlow_twins", None])
def test_restoration_starts_from_the_corrupted_view_and_the_method_compares_the_clean_ones(name: str | None) -> None:
    """Each is encoded once, and what nothing asks for is not encoded at all."""
    pretext, clean = make(name, parts=1), batch()
    apart = clean._replace(corrupted=clean.x[0] * (1 - clean.mask.double()))
    encoded: list[torch.Tensor] = []
    pretext.encoder.register_forward_pre_hook(lambda _, given: encoded.append(given[0]))
    found = pretext(apart)
    wanted = [apart.corrupted] if name is None else [*clean.x[: 1 if name == "moco_v2" else 2], apart.corrupted]
    assert [id(x) for x in encoded] == [id(x) for x in wanted]
    both = make(name, parts=1)(clean)
    alone = make(None, parts=1)(clean._replace(x=(apart.corrupted,)))
    if name is not None:
        assert torch.equal(found.main["discrimination"], both.main["discrimination"])
    assert torch.equal(found.main["restoration"], alone.main["restoration"])
    assert not torch.equal(found.main["restoration"], both.main["restoration"])


@pytest.mark.parametrize("name", ["moco_v2", None])
@pytest.mark.parametrize("norm", ["batch", "sync_batch"])
def test_batch_norms_remember_what_the_method_sees_and_not_what_is_masked(name: str | None, norm: str) -> None:
    """With a method the encoder's statistics are those of a run without restoration; without, they are all there is."""

    def statistics(parts: int, views: Views) -> dict[str, torch.Tensor]:
        pretext = make(name, parts=parts, norm=norm).train()
        pretext(views)
        return {key: value for key, value in pretext.encoder.state_dict().items() if "running" in key}

    clean = batch()
    apart = clean._replace(corrupted=clean.x[0] * (1 - clean.mask.double()))
    found = statistics(1, apart)
    assert len(found) > 0
    if name is None:
        expected = statistics(1, clean._replace(x=(apart.corrupted,)))
    else:
        expected = statistics(0, clean)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


WEIGHTS = {"discrimination": 1.0, "restoration": 10.0, "adversarial": 0.001}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_every_loss_reaches_only_the_parameters_of_its_player(name: str | None, spatial_dims: int) -> None:
    pretext = make(name, spatial_dims=spatial_dims)
    views = batch(spatial_dims=spatial_dims)
    players, found = pretext.players(), pretext(views)
    assert set(found.main) | set(found.adversaries) == set(pretext.names())
    losses = [("main", name, loss) for name, loss in found.main.items()]
    losses += [(name, name, loss) for name, loss in found.adversaries.items()]
    for (player, loss_name, loss), other in itertools.product(losses, players):
        grads = torch.autograd.grad(loss, players[other], retain_graph=True, allow_unused=True)
        reached = any(g is not None and bool(g.any()) for g in grads)
        assert reached == (player == other), (loss_name, other)
        if player != other:
            assert all(g is None for g in grads), (loss_name, other)


@pytest.mark.parametrize("name", METHODS)
def test_one_backward_gives_each_player_the_gradient_of_its_own_losses(name: str | None) -> None:
    pretext, views = make(name), batch()
    together = backward(pretext, WEIGHTS, views)
    found = pretext(views)
    total = torch.stack([WEIGHTS[k] * v for k, v in found.main.items()]).sum()
    alone = {"main": total, **found.adversaries}
    names = {id(p): n for n, p in pretext.named_parameters()}
    for player, parameters in pretext.players().items():
        grads = torch.autograd.grad(alone[player], parameters, retain_graph=True)
        for p, g in zip(parameters, grads, strict=True):
            assert torch.equal(together[names[id(p)]], g)
    assert set(together) == {names[id(p)] for ps in pretext.players().values() for p in ps}


STAGES = [
    ({"discrimination"}, {"encoder", "method"}),
    ({"discrimination", "restoration"}, {"encoder", "method", "decoder", "restore"}),
    ({"discrimination", "restoration", "adversarial"}, {"encoder", "method", "decoder", "restore", "adversary"}),
    ({"restoration"}, {"encoder", "decoder", "restore"}),
]


@pytest.mark.parametrize(("active", "with_gradient"), STAGES)
def test_what_a_stage_does_not_train_has_no_gradient_and_no_player(active: set[str], with_gradient: set[str]) -> None:
    pretext = make("adco")
    pretext.activate(active)
    found = backward(pretext, WEIGHTS, batch())
    assert {name.split(".")[0] for name in found} == with_gradient
    trained = {id(p) for ps in pretext.players().values() for p in ps}
    for name, p in pretext.named_parameters():
        assert (p.grad is None) == (id(p) not in trained) == (not p.requires_grad), name
    assert next(iter(pretext.players())) == "main"
    assert ("bank" in pretext.players()) == ("discrimination" in active)
    assert ("discriminator" in pretext.players()) == ("adversarial" in active)
    assert set(pretext(batch()).main) == active


def test_stages_may_come_and_go() -> None:
    pretext = make("adco")
    everything = backward(pretext, WEIGHTS, batch())
    for active, _ in STAGES:
        pretext.activate(active)
    pretext.activate(ALL)
    again = backward(pretext, WEIGHTS, batch())
    assert set(everything) == set(again)
    assert all(torch.equal(everything[name], again[name]) for name in everything)


@pytest.mark.parametrize("name", ["adco", "moco_v2", "simsiam", "barlow_twins"])
def test_losses_of_weight_zero_leave_the_encoder_as_the_method_alone_would(name: str) -> None:
    views = batch()
    alone, whole, staged = make(name, parts=0), make(name), make(name)
    staged.activate({"discrimination"})
    for other in (whole, staged):
        other.encoder.load_state_dict(alone.encoder.state_dict())
        other.method.load_state_dict(alone.method.state_dict())
    expected = backward(alone, WEIGHTS, views)
    no_weight = backward(whole, {"discrimination": 1.0, "restoration": 0.0, "adversarial": 0.0}, views)
    stage = backward(staged, WEIGHTS, views)
    assert all(torch.equal(expected[key], no_weight[key]) for key in expected)
    assert all(torch.equal(expected[key], stage[key]) for key in expected)


def test_an_adversary_that_waits_plays_only_when_named() -> None:
    pretext = make("adco", init="keys")
    assert "bank" not in pretext.players()
    pretext.activate({"discrimination", "restoration", "adversarial", "discriminator"})
    assert set(pretext.players()) == {"main", "discriminator"}
    pretext.activate(ALL)
    assert set(pretext.players()) == {"main", "bank", "discriminator"}
    pretext.activate({"bank", "discriminator", "restoration"})  # what they answer is off
    assert set(pretext.players()) == {"main"}


def test_each_view_is_encoded_once_and_the_reconstruction_judged_once() -> None:
    for views, active, encoded in [(2, ALL, 2), (3, ALL, 3), (2, {"restoration"}, 1)]:
        pretext = make("adco", symmetric=views == 2)
        pretext.activate(active)
        seen: list[int] = []
        judged: list[int] = []
        pretext.encoder.register_forward_hook(lambda m, i, o, seen=seen: seen.append(len(i[0])))
        pretext.adversary.discriminator.register_forward_hook(lambda m, i, o, judged=judged: judged.append(len(i[0])))
        pretext(batch(views=views))
        assert len(seen) == encoded
        assert judged == ([] if active != ALL else [3, 3])  # reconstruction, target


def test_restoration_needs_one_view_and_no_method() -> None:
    pretext, views = make(None, parts=1), batch(views=1)
    found = pretext(views)
    assert set(found.main) == {"restoration"}
    decoded = pretext.decoder(pretext.encoder(views.x[0]), views.x[0].shape[2:])
    assert_close(found.main["restoration"], (pretext.restore.head(decoded) - views.target).square().mean())
    assert pretext.diagnostics == {}
    pretext.begin()
    pretext.after_step()


def test_masked_only_looks_at_nothing_else() -> None:
    branch = restore.build(spatial_dims=2, in_channels=2, out_channels=1, masked_only=True).double()
    views, decoded = batch(), torch.randn(3, 2, 12, 12, dtype=torch.float64)
    _, loss = branch(decoded, views)
    _, again = branch(decoded, views._replace(target=torch.where(views.mask, views.target, 7.0)))
    _, other = branch(decoded, views._replace(target=torch.where(views.mask, 7.0, views.target)))
    assert torch.equal(loss, again)
    assert other > loss


def test_a_perfect_reconstruction_leaves_the_adversary_alone() -> None:
    pretext, views = make(), batch()
    with torch.no_grad():
        reconstruction, _ = pretext.restore(pretext.decoder(pretext.encoder(views.x[0]), (12, 12)), views)
    found = pretext(views._replace(target=reconstruction))
    assert found.main["restoration"].item() == 0.0
    judged = pretext.adversary.discriminator(reconstruction)
    assert_close(found.main["adversarial"], (judged - 1).square().mean())
    assert_close(found.adversaries["discriminator"], ((judged - 1).square().mean() + judged.square().mean()) / 2)


@pytest.mark.parametrize("loss", ["least_squares", "hinge"])
def test_one_pass_of_the_reconstruction_serves_both_players_as_two_would(loss: Any) -> None:
    """Gradients of the adversarial loss in the reconstruction, and of the loss of the discriminator in its weights."""
    torch.manual_seed(0)
    branch = adversary.build(spatial_dims=2, in_channels=1, loss=loss).double()
    fake, real = (torch.rand(3, 1, 16, 16, dtype=torch.float64) for _ in range(2))
    fake.requires_grad_()
    weights = [p for p in branch.parameters() if p.requires_grad]
    both = branch(fake, real)
    found = both.adversaries["discriminator"]
    grads = torch.autograd.grad(2.5 * both.main["adversarial"] + found, [fake, *weights])
    d_real, d_fake = branch.discriminator(real), branch.discriminator(fake)
    if loss == "hinge":
        raised = -d_fake.mean()
        expected = (1 - d_real).clamp_min(0).mean() + (1 + d_fake).clamp_min(0).mean()
    else:
        raised = (d_fake - 1).square().mean()
        expected = ((d_real - 1).square().mean() + d_fake.square().mean()) / 2
    assert_close(both.main["adversarial"], raised)
    assert_close(found, expected)
    assert_close(grads[0], 2.5 * torch.autograd.grad(raised, fake, retain_graph=True)[0])
    assert_close(grads[1:], torch.autograd.grad(expected, weights))


def test_what_cannot_work_together_is_refused() -> None:
    whole = make()
    parts = {"method": whole.method, "decoder": whole.decoder, "restore": whole.restore, "adversary": whole.adversary}
    for absent, problem in [
        (("restore",), "restore is null"),
        (("decoder",), "decoder is null"),
        (("method", "restore", "adversary"), "nothing would be learned"),
    ]:
        with pytest.raises(InputError, match=problem):
            Pretext(whole.encoder, **{k: v for k, v in parts.items() if k not in absent})
    with pytest.raises(InputError, match="bunk"):
        whole.activate({"bunk"})


def test_names_of_the_state_and_parameters_frozen_beforehand() -> None:
    pretext = make("moco_v2")
    assert {name.split(".")[0] for name in pretext.state_dict()} == {
        "encoder",
        "method",
        "decoder",
        "restore",
        "adversary",
    }
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    net.levels[0].requires_grad_(False)
    half = Pretext(net, method=make_method("moco_v2", net))
    half.activate({"discrimination"})
    assert not any(p.requires_grad for p in net.levels[0].parameters())
    assert not {id(p) for p in net.levels[0].parameters()} & {id(p) for p in half.players()["main"]}
    assert not any(p.requires_grad for p in half.method.key_encoder.parameters())
