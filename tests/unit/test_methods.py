from __future__ import annotations

import copy
from math import log, sqrt

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medssl import losses
from medssl.methods import adco, barlow_twins, base, keys, moco_v2, simsiam
from medssl.models.encoder import tiny
from medssl.types import InputError, Losses, Views

SMALL = {"hidden": 6, "dim": 4}


class Through(nn.Module):
    """An encoder whose deepest map is its input, so that embeddings can be given by hand."""

    channels = (4,)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)


def encoder(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8)).double()


def batch(count: int = 4, views: int = 2, seed: int = 0, first: int = 0, patient: list[int] | None = None) -> Views:
    generator = torch.Generator().manual_seed(seed)
    x = tuple(torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64) for _ in range(views))
    ids = torch.arange(first, first + count)
    owners = ids if patient is None else torch.tensor(patient)
    return Views(x, x[0], torch.ones(count, 1, 8, 8, dtype=torch.bool), ids, owners)


def forward(method: base.Method, net: nn.Module, views: Views) -> Losses:
    return method(views, lambda v: net(views.x[v]))


def moco(net: nn.Module, **settings: object) -> moco_v2.MoCoV2:
    return moco_v2.build(encoder=net, **{"queue": 6, **SMALL, **settings}).double()


def bank(net: nn.Module, **settings: object) -> adco.AdCo:
    return adco.build(encoder=net, **{"negatives": 6, "init": "gaussian", **SMALL, **settings}).double()


@pytest.mark.parametrize(("steps", "left"), [(100, 0.904792), (1000, 0.367695), (5000, 0.006721)])
def test_the_key_encoder_closes_a_gap_by_one_thousandth_a_step(steps: int, left: float) -> None:
    net, head = nn.Linear(1, 1, bias=False).double(), nn.Identity()
    average = keys.EMAEncoder(net, head, 0.999, False, 0)
    before = net.weight.item()
    nn.init.constant_(net.weight, before + 1)
    for _ in range(steps):
        average.ema_update(net, head)
    assert before + 1 - average.encoder.weight.item() == pytest.approx(left, abs=1e-6)


def test_keys_carry_no_gradient_and_share_no_parameter_with_the_encoder() -> None:
    net = encoder()
    method = moco(net)
    forward(method, net, batch()).main["discrimination"].backward()
    assert all(p.grad is None and not p.requires_grad for p in method.key_encoder.parameters())
    assert all(p.grad is not None for p in net.parameters())
    assert not {id(p) for p in method.key_encoder.parameters()} & {id(p) for p in net.parameters()}


@pytest.mark.parametrize("count", [3, 4, 9, 13])
def test_the_queue_replaces_its_oldest_keys_first_and_wraps(count: int) -> None:
    net = encoder()
    method = moco(net, queue=9)
    seen: list[int] = []
    for step in range(5):
        forward(method, net, batch(count, seed=step, first=100 * step))
        method.after_step(net)
        seen += range(100 * step, 100 * step + count)
        assert int(method.pointer) == (step + 1) * count % 9
    oldest_first = [int(method.sample[(int(method.pointer) + i) % 9]) for i in range(9)]
    assert oldest_first == seen[-9:]
    assert_close(method.queue.norm(dim=1), torch.ones(9, dtype=torch.float64))


def test_ids_travel_with_the_keys_in_the_queue() -> None:
    net = encoder()
    method = moco(net, queue=8, symmetric=False)
    views = batch(4, first=10, patient=[7, 7, 8, 9])
    forward(method, net, views)
    method.after_step(net)
    assert method.sample[:4].tolist() == [10, 11, 12, 13]
    assert method.patient[:4].tolist() == [7, 7, 8, 9]
    assert_close(method.queue[:4], method.key_encoder(views.x[1], views).k, atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [("patient", [[0, 0, 1, 1], [1, 1, 0, 1]]), ("sample", [[0, 1, 1, 1], [1, 1, 0, 1]]), ("none", [[1] * 4] * 2)],
)
def test_who_is_a_negative(exclude: keys.Exclude, expected: list[list[int]]) -> None:
    views = batch(2, first=0, patient=[5, 6])
    sample, patient = torch.tensor([0, 8, 1, -1]), torch.tensor([5, 5, 6, -1])
    mask = keys.same_owner(views, sample, patient, exclude)
    assert (~mask).int().tolist() == expected


@pytest.mark.parametrize("method_of", [moco, bank])
def test_a_key_of_the_same_patient_leaves_no_trace_in_the_loss(method_of: object) -> None:
    net = encoder()
    strict, free = method_of(net, exclude="patient"), method_of(net, exclude="none")
    free.load_state_dict(strict.state_dict())
    twins, strangers = batch(4, patient=[1, 1, 2, 3]), batch(4)
    for method in (strict, free):  # so that a queue holds the patients of the batch
        forward(method, net, twins)
        method.after_step(net)
    forward(strict, net, twins)
    q = [keys.embed(strict.head, net(twins.x[0]))]
    k = strict.key_encoder(twins.x[1], twins).k
    memory = strict.queue if method_of is moco else torch.nn.functional.normalize(strict.bank, dim=1)
    owners = strict.patient if method_of is moco else twins.patient
    terms = []
    for i in range(4):
        others = memory if method_of is moco else k
        kept = others[owners != twins.patient[i]]
        rest = kept if method_of is moco else torch.cat([kept, memory])
        terms.append(losses.info_nce(q[0][i : i + 1], k[i : i + 1], rest, strict.temperature))
    found = forward(strict, net, twins).main["discrimination"]
    assert_close(found, torch.stack(terms).mean())
    assert found < forward(free, net, twins).main["discrimination"]
    if method_of is bank:  # nobody shares a patient: the mask changes nothing
        assert_close(
            forward(strict, net, strangers).main["discrimination"], forward(free, net, strangers).main["discrimination"]
        )


@pytest.mark.parametrize("method_of", [moco, bank])
def test_validation_changes_nothing(method_of: object) -> None:
    net = encoder()
    method = method_of(net).eval()
    before = copy.deepcopy(method.state_dict())
    forward(method, net, batch())
    assert not method._fresh
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_begin_makes_the_key_encoder_the_encoder() -> None:
    net = encoder()
    for method in (moco(net), bank(net)):
        for p in net.parameters():
            nn.init.normal_(p)
        method.begin(net)
        for a, b in zip(method.key_encoder.encoder.parameters(), net.parameters(), strict=True):
            assert torch.equal(a, b)


def test_shuffling_is_undone_exactly_and_new_each_round() -> None:
    order = keys.shuffled(12, 3, 0)
    x = torch.randn(12, 5)
    assert torch.equal(x[order][torch.argsort(order)], x)
    assert torch.equal(order, keys.shuffled(12, 3, 0))
    assert not torch.equal(order, keys.shuffled(12, 3, 1))


def test_only_local_batch_norm_asks_for_shuffling() -> None:
    def shuffles(norm: str, wanted: bool = True) -> bool:
        net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8), norm=norm)
        return keys.EMAEncoder(net, nn.Identity(), 0.9, wanted, 0).shuffle

    assert [shuffles(norm) for norm in ("batch", "sync_batch", "group", "instance")] == [True, False, False, False]
    assert not shuffles("batch", wanted=False)


@pytest.mark.parametrize(("samples", "size"), [(1, 1), (2, 2), (100, 64), (128, 128), (90_000, 65536), (None, 65536)])
def test_auto_is_the_largest_power_of_two_that_the_data_fills(samples: int | None, size: int) -> None:
    assert keys.largest_memory(samples) == size


def test_auto_sizes_queue_and_bank() -> None:
    net = encoder()
    assert len(moco(net, queue="auto", samples=21).queue) == 16
    assert len(bank(net, negatives="auto", samples=21, init="keys").bank) == 16


@pytest.mark.parametrize("size", [0, 22])
def test_a_memory_that_data_cannot_fill_is_refused_with_what_works(size: int) -> None:
    wanted = "give 1 or more" if size == 0 else "22 but 21 samples .* set method.{}=21"
    with pytest.raises(InputError, match=wanted.format("queue")):
        moco(encoder(), queue=size, samples=21)
    with pytest.raises(InputError, match=wanted.format("negatives")):
        bank(encoder(), negatives=size, samples=21, init="keys")
    assert len(moco(encoder(), queue=21, samples=21).queue) == 21


def test_a_gaussian_fill_takes_what_the_data_cannot_and_is_the_same_for_every_rank() -> None:
    method, twin = (bank(encoder(i), negatives=22, samples=5, init="keys", fill="gaussian") for i in range(2))
    assert method.delays(2) == {"bank": 3}
    assert torch.equal(method.bank, twin.bank)
    assert bank(encoder(), negatives=22, samples=5, init="gaussian").delays(2) == {}


def test_a_bank_waits_for_the_rows_that_are_not_filled_yet() -> None:
    method = bank(encoder(), negatives=10, init="keys")
    for filled, wait in ((0, 3), (6, 1), (10, 0), (12, 0)):  # 12: from a run of more samples
        method.filled.fill_(filled)
        assert method.delays(4) == {"bank": wait}
    with torch.device("meta"):
        assert bank(encoder(), negatives=10, init="keys").delays(4) == {"bank": 3}


def test_the_bank_is_filled_with_keys_in_order_and_then_theta_k_is_theta_q() -> None:
    net = encoder()
    method = bank(net, negatives=10, init="keys", momentum=0.5)
    method.bank.requires_grad_(False)  # as the pretext does until its delay is over
    start, expected = method.bank.clone(), []
    assert method.delays(4) == {"bank": 3}
    for step in range(3):
        views = batch(seed=step)
        found = forward(method, net, views)
        expected.append(method.key_encoder(views.x[1], views).k)
        q = keys.embed(method.head, net(views.x[0]))
        negatives = nn.functional.normalize(method.bank, dim=1)
        assert_close(found.main["discrimination"], losses.info_nce(q, expected[-1], negatives, 0.12))
        assert not found.adversaries
        assert torch.equal(method.bank[4 * step :], start[4 * step :])
        found.main["discrimination"].backward()
        with torch.no_grad():
            for p in [*net.parameters(), *method.head.parameters()]:
                p -= 0.1 * p.grad
        method.after_step(net)
    assert torch.equal(method.bank, torch.cat(expected)[:10])
    assert_close(method.bank.norm(dim=1), torch.ones(10, dtype=torch.float64))
    for a, b in zip(method.key_encoder.encoder.parameters(), net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "bank" in forward(_playing(method), net, batch()).adversaries
    method.after_step(net)
    assert torch.equal(method.bank, torch.cat(expected)[:10])


def _playing(method: adco.AdCo) -> adco.AdCo:
    method.bank.requires_grad_(True)
    return method


def test_a_bank_that_plays_too_early_is_a_fault() -> None:
    net = encoder()
    with pytest.raises(RuntimeError, match="0 of 10 rows"):
        forward(bank(net, negatives=10, init="keys"), net, batch())


def test_pruning_leaves_the_encoders_denominator_only() -> None:
    w = torch.tensor([[2.0, 0, 0, 0], [0, 3, 0, 0], [1, 1, 0, 0]], dtype=torch.float64)
    net = Through()

    def method(prune: float | None) -> adco.AdCo:
        key_encoder = keys.EMAEncoder(net, nn.Identity(), 0.9, False, 0)
        return adco.AdCo(nn.Identity(), key_encoder, w.clone(), 0, 0.2, 0.1, False, prune, False, "patient")

    q = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)[:, :, None, None]
    views = Views((q, q), q, q[:, :1] > 0, torch.arange(1), torch.arange(1))
    unit = torch.nn.functional.normalize(w, dim=1)
    methods = method(None), method(0.8), method(-0.9)
    full, pruned, bare = (forward(m, net, views) for m in methods)
    q_BD = q.flatten(1)
    assert_close(full.main["discrimination"], losses.info_nce(q_BD, q_BD, unit, 0.2))
    assert_close(pruned.main["discrimination"], losses.info_nce(q_BD, q_BD, unit[1:], 0.2))
    assert_close(full.adversaries["bank"], pruned.adversaries["bank"], atol=0, rtol=0)
    assert_close(full.adversaries["bank"], -losses.info_nce(q_BD, q_BD, unit, 0.1))
    assert float(bare.main["discrimination"]) == 0
    for m, left in zip(methods, (3, 2, 0), strict=True):  # what is pruned is neither a negative nor a candidate
        assert float(m.diagnostics["masked"]) == pytest.approx(1 - left / 3)
        assert float(m.diagnostics["chance"]) == pytest.approx(log(1 + left))
        assert float(m.diagnostics["max_cosine"]) == pytest.approx(1)


@pytest.mark.parametrize("method_of", [moco, bank])
def test_symmetric_is_the_mean_of_both_directions_and_blind_to_their_order(method_of: object) -> None:
    net = encoder()
    both, one = method_of(net, symmetric=True), method_of(net)
    one.load_state_dict(both.state_dict())
    views = batch()
    swapped = views._replace(x=views.x[::-1])
    found, again = forward(both, net, views), forward(both, net, swapped)
    there, back = forward(one, net, views), forward(one, net, swapped)
    for part in ("main", "adversaries"):
        for name, value in getattr(found, part).items():
            assert_close(value, getattr(again, part)[name])
            assert_close(value, (getattr(there, part)[name] + getattr(back, part)[name]) / 2)


def test_views_that_a_method_cannot_compare_are_refused() -> None:
    net = encoder()
    with pytest.raises(InputError, match=r"views\.count is 1"):
        moco(net).check_views(1)
    with pytest.raises(InputError, match="symmetric=true takes 2 views"):
        bank(net, symmetric=True).check_views(6)
    with pytest.raises(InputError, match=r"views\.count is 3"):
        simsiam.build(encoder=net, batch=2, **SMALL).check_views(3)
    assert keys.pairs(6, False) == [keys.Pair(v, 0, 1.0) for v in range(1, 6)]


@pytest.mark.parametrize("build", [simsiam.build, barlow_twins.build])
def test_a_batch_of_one_has_no_statistics(build: object) -> None:
    with pytest.raises(InputError, match=r"train\.batch=2"):
        build(encoder=encoder(), batch=1, **SMALL)


def test_published_heads() -> None:
    net = nn.Module()
    net.channels = (64, 2048)
    head = moco_v2.build(encoder=net, queue=8).head
    assert sum(p.numel() for p in head.parameters()) == 4_458_624
    plain = simsiam.build(encoder=net, batch=2)
    assert [m.out_features for m in plain.projector if isinstance(m, nn.Linear)] == [2048, 2048, 2048]
    assert plain.projector[-1].affine is False
    assert [m.out_features for m in plain.predictor if isinstance(m, nn.Linear)] == [512, 2048]


def test_spread_tells_collapse_from_health() -> None:
    collapsed = base.collapse_metrics(torch.ones(6, 4))
    assert float(collapsed["embedding_std"]) == pytest.approx(0, abs=1e-6)
    assert float(collapsed["effective_rank"]) == pytest.approx(1, abs=1e-2)
    healthy = base.collapse_metrics(torch.cat([torch.eye(4), -torch.eye(4)]).double())
    assert float(healthy["effective_rank"]) == pytest.approx(4, abs=1e-6)
    assert float(healthy["embedding_std"]) == pytest.approx(1 / sqrt(4), abs=1e-6)


def test_contrastive_diagnostics() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0.8], [0.2, -torch.inf, 0.5]])
    found = base.contrastive_metrics(cosines)
    assert float(found["top1"]) == 0.5
    assert float(base.largest(cosines[:, 2:])) == pytest.approx(0.8)
    assert float(base.largest(torch.full((2, 3), -torch.inf))) == -1
    assert float(found["masked"]) == pytest.approx(1 / 4)
    assert float(found["chance"]) == pytest.approx((log(3) + log(2)) / 2, abs=1e-6)  # what is masked is no candidate
    assert float(base.contrastive_metrics(cosines, weight=5.0)["chance"]) == pytest.approx(2.5 * log(6), abs=1e-6)
    net = encoder()
    method = bank(net)
    forward(method, net, batch())
    assert {"top1", "bank_norm", "max_cosine", "chance", "embedding_std", "effective_rank"} <= set(method.diagnostics)
    assert float(method.diagnostics["bank_norm"]) == pytest.approx(
        float(method.bank.detach().norm(dim=1).mean()), abs=1e-6
    )
    assert not any(value.requires_grad for value in method.diagnostics.values())


@pytest.mark.parametrize("made", [moco, bank])
def test_a_momentum_out_of_bounds_is_refused(made: object) -> None:
    for momentum in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"method.momentum is"):
            made(encoder(), momentum=momentum)
