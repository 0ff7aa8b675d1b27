"""AdCo against the published arithmetic (Hu et al. 2021), written in numpy with the gradient by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.testing import assert_close

from medssl.methods import adco, keys, moco_v2
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.types import Losses, Views

# ---- the reference -------------------------------------------------------------------------------------------------


class Play(NamedTuple):
    loss: float
    p: np.ndarray  # (B,K) share of each learned negative
    p_keys: np.ndarray  # (B,M) share of each key
    g: np.ndarray  # (K,D) minus the gradient of the loss into the bank


def play(q: np.ndarray, k: np.ndarray, w: np.ndarray, tau: float, in_batch: bool = True) -> Play:
    """One loss at `tau` and the bank's gradient, scalar by scalar."""
    norms = np.sqrt((w**2).sum(1))
    n = w / norms[:, None]
    g, loss, shares, key_shares = np.zeros_like(w), 0.0, [], []
    for i in range(len(q)):
        candidates = k if in_batch else k[i : i + 1]
        own = i if in_batch else 0
        on_keys = np.exp(candidates @ q[i] / tau)
        on_bank = np.exp(n @ q[i] / tau)
        total = on_keys.sum() + on_bank.sum()
        loss -= np.log(on_keys[own] / total) / len(q)
        for j in range(len(w)):
            cosine = q[i] @ n[j]
            g[j] -= on_bank[j] / total * (q[i] - cosine * n[j]) / (tau * norms[j] * len(q))
        shares.append(on_bank / total)
        key_shares.append(on_keys / total)
    return Play(loss, np.array(shares), np.array(key_shares), g)


def published_step(w: np.ndarray, v: np.ndarray, g: np.ndarray, lr: float, momentum: float, decay: float) -> Any:
    v = momentum * v + g + decay * w
    return w - lr * v, v


# ---- the module under test, with embeddings given by hand ------------------------------------------------------------


class Through(nn.Module):
    channels = (2,)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)


def method(w: np.ndarray, tau_m: float, tau: float = 0.12, **settings: Any) -> adco.AdCo:
    asked = {"in_batch_negatives": True, "prune": None, "symmetric": False, "exclude": "patient", "keyed": 0} | settings
    key_encoder = keys.EMAEncoder(Through(), nn.Identity(), 0.999, False, 0)
    return adco.AdCo(nn.Identity(), key_encoder, torch.tensor(w), temperature=tau, bank_temperature=tau_m, **asked)


def forward(module: adco.AdCo, *embeddings: np.ndarray) -> Losses:
    x = tuple(torch.tensor(e)[:, :, None, None] for e in embeddings)
    ids = torch.arange(len(x[0]))
    return module(Views(x, x[0], x[0][:, :1] > 0, ids, ids), lambda v: (x[v],))


def bank_gradient(module: adco.AdCo, *embeddings: np.ndarray) -> np.ndarray:
    """The gradient of the adversarial loss of the bank, which is g of the release."""
    return torch.autograd.grad(forward(module, *embeddings).adversaries["bank"], module.bank)[0].numpy()


def unit(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    x = rng.standard_normal((rows, columns))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def sgd(module: adco.AdCo, lr: float = 3.0, momentum: float = 0.9, decay: float = 1e-4) -> torch.optim.SGD:
    return torch.optim.SGD([module.bank], lr=lr, momentum=momentum, weight_decay=decay)


def step(module: adco.AdCo, optimizer: torch.optim.SGD, *embeddings: np.ndarray) -> float:
    optimizer.zero_grad()
    loss = forward(module, *embeddings).adversaries["bank"]
    loss.backward()
    optimizer.step()
    return -loss.item()


# ---- hand cases ------------------------------------------------------------------------------------------------------

Q, W = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0], [3.0, 4.0]])

HAND = [
    (1.0, (0.180492, 0.328879), ((-0.090246, 0), (-0.042096, 0.031572)), 0.712067),
    (0.5, (0.085403, 0.283548), ((-0.085403, 0), (-0.072588, 0.054441)), 0.460373),
]


@pytest.mark.parametrize(("tau_m", "p", "g", "loss"), HAND)
def test_hand_case(tau_m: float, p: Any, g: Any, loss: float) -> None:
    reference = play(Q, Q, W, tau_m)
    np.testing.assert_allclose(reference.p[0], p, atol=1e-5)
    np.testing.assert_allclose(reference.g, g, atol=1e-5)
    found = method(W, tau_m)
    np.testing.assert_allclose(bank_gradient(found, Q, Q), g, atol=1e-5)
    assert -forward(found, Q, Q).adversaries["bank"].item() == pytest.approx(loss, abs=1e-5)
    assert found.diagnostics["bank_info_nce"].item() == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("tau_m", "after", "loss"),
    [
        (1.0, ((0.270739, 2), (3.126289, 3.905283)), 0.745713),
        (0.5, ((0.256209, 2), (3.217765, 3.836676)), 0.509095),
    ],
)
def test_hand_case_after_one_plain_step(tau_m: float, after: Any, loss: float) -> None:
    module = method(W, tau_m)
    step(module, sgd(module, momentum=0, decay=0), Q, Q)
    np.testing.assert_allclose(module.bank.detach().numpy(), after, atol=1e-5)
    assert -forward(module, Q, Q).adversaries["bank"].item() == pytest.approx(loss, abs=1e-5)


def test_hand_case_with_momentum_and_decay() -> None:
    module = method(W, 1.0)
    optimizer = sgd(module)
    step(module, optimizer, Q, Q)
    velocity = optimizer.state[module.bank]["momentum_buffer"]
    np.testing.assert_allclose(velocity.numpy(), ((-0.090246, 0.000200), (-0.041796, 0.031972)), atol=1e-5)
    np.testing.assert_allclose(module.bank.detach().numpy(), ((0.270739, 1.9994), (3.125389, 3.904083)), atol=1e-5)
    g = ((-0.097136, 0.013153), (-0.039731, 0.031806))
    np.testing.assert_allclose(bank_gradient(module, Q, Q), g, atol=1e-5)
    step(module, optimizer, Q, Q)
    np.testing.assert_allclose(velocity.numpy(), ((-0.178331, 0.013533), (-0.077035, 0.060972)), atol=1e-5)
    after = ((0.805731, 1.958801), (3.356494, 3.721168))
    np.testing.assert_allclose(module.bank.detach().numpy(), after, atol=1e-5)


def test_the_encoders_hand_case() -> None:
    """Own key (1,0), another sample's key (0,1), negatives (-1,0) and (.6,.8)."""
    q = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    module = method(np.array([[-1.0, 0.0], [3.0, 4.0]]), 0.02, tau=0.5)
    x = (q[:, :, None, None], q.detach()[:, :, None, None])
    views = Views(x, x[0], x[0] > 0, torch.arange(2), torch.arange(2))
    found = module(views, lambda v: (x[v],))
    expected = play(q.detach().numpy(), q.detach().numpy(), module.bank.detach().numpy(), 0.5)
    assert found.main["discrimination"].item() == pytest.approx(expected.loss, abs=1e-10)
    np.testing.assert_allclose(expected.p_keys[0], (0.623838, 0.084427), atol=1e-5)
    np.testing.assert_allclose(expected.p[0], (0.011426, 0.280309), atol=1e-5)
    assert -np.log(expected.p_keys[0, 0]) == pytest.approx(0.471864, abs=1e-5)
    # The tangent part is what passes the normalisation: dL/dq = (-.438805, .617348) loses its first component.
    gradient = torch.autograd.grad(found.main["discrimination"], q)[0]
    np.testing.assert_allclose(gradient[0].numpy() * 2, (0.0, 0.617348), atol=1e-5)


# ---- twenty steps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_batch", [True, False])
def test_the_bank_is_the_published_one_over_20_steps(in_batch: bool) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((12, 5))
    v, module = np.zeros_like(w), method(w, 0.02, in_batch_negatives=in_batch)
    optimizer = sgd(module)
    for _ in range(20):
        q, k = unit(rng, 6, 5), unit(rng, 6, 5)
        expected = play(q, k, w, 0.02, in_batch)
        assert step(module, optimizer, q, k) == pytest.approx(expected.loss, abs=1e-9)
        w, v = published_step(w, v, expected.g, 3.0, 0.9, 1e-4)
        np.testing.assert_allclose(module.bank.detach().numpy(), w, atol=1e-9)


def test_symmetric_bank_over_20_steps() -> None:
    rng = np.random.default_rng(1)
    w = rng.standard_normal((8, 4))
    v, module = np.zeros_like(w), method(w, 0.05, symmetric=True)
    optimizer = sgd(module)
    for _ in range(20):  # embeddings are given, so query and key of a view coincide
        a, b = unit(rng, 5, 4), unit(rng, 5, 4)
        g = (play(a, b, w, 0.05).g + play(b, a, w, 0.05).g) / 2
        np.testing.assert_allclose(bank_gradient(module, b, a), bank_gradient(module, a, b), atol=1e-12)
        step(module, optimizer, a, b)
        w, v = published_step(w, v, g, 3.0, 0.9, 1e-4)
        np.testing.assert_allclose(module.bank.detach().numpy(), w, atol=1e-9)


def test_multi_crop_bank_over_20_steps() -> None:
    rng = np.random.default_rng(2)
    w = rng.standard_normal((8, 4))
    v, module = np.zeros_like(w), method(w, 0.05)
    optimizer = sgd(module)
    for _ in range(20):
        key, *queries = (unit(rng, 5, 4) for _ in range(6))
        g = np.sum([play(q, key, w, 0.05).g for q in queries], axis=0)
        step(module, optimizer, key, *queries)
        w, v = published_step(w, v, g, 3.0, 0.9, 1e-4)
        np.testing.assert_allclose(module.bank.detach().numpy(), w, atol=1e-9)


@pytest.mark.parametrize("tau_m", [0.05, 0.5])
def test_five_equal_crops_cost_five_times_one(tau_m: float) -> None:
    rng = np.random.default_rng(3)
    w, q, k = rng.standard_normal((8, 4)), unit(rng, 5, 4), unit(rng, 5, 4)
    one, five = method(w, tau_m), method(w, tau_m)
    single, crops = forward(one, q, k), forward(five, k, *[q] * 5)
    assert_close(crops.main["discrimination"], 5 * single.main["discrimination"])
    assert_close(crops.adversaries["bank"], 5 * single.adversaries["bank"])
    np.testing.assert_allclose(bank_gradient(five, k, *[q] * 5), 5 * bank_gradient(one, q, k), rtol=1e-12)


def test_descent_on_the_negated_loss_is_ascent_with_the_usual_decay() -> None:
    rng = np.random.default_rng(4)
    w = rng.standard_normal((8, 4))
    ours, theirs = method(w, 0.05), torch.tensor(w, requires_grad=True)
    mine = sgd(ours)
    ascent = torch.optim.SGD([theirs], lr=3.0, momentum=0.9, weight_decay=1e-4, maximize=True)
    for _ in range(5):
        q, k = unit(rng, 6, 4), unit(rng, 6, 4)
        step(ours, mine, q, k)
        n = theirs / theirs.norm(dim=1, keepdim=True)
        logits = torch.cat([torch.tensor(q @ k.T), torch.tensor(q) @ n.T], 1) / 0.05
        ascent.zero_grad()
        nn.functional.cross_entropy(logits, torch.arange(6)).backward()
        ascent.step()
        assert_close(ours.bank.detach(), theirs.detach(), atol=1e-12, rtol=0)


# ---- before the bank plays: rows become keys, and the loss is of one pair in every form ------------------------------


FORMS = [(2, False), (2, True), (6, False)]  # views, symmetric


def filling_loss(q: np.ndarray, k: np.ndarray, w: np.ndarray, tau: float) -> float:
    """The own key against the random rows, no other key among the candidates; scalar by scalar."""
    n, total = w / np.linalg.norm(w, axis=1, keepdims=True), 0.0
    for i in range(len(q)):
        own = np.exp(q[i] @ k[i] / tau)
        total -= np.log(own / (own + np.exp(n @ q[i] / tau).sum())) / len(q)
    return total


@pytest.mark.parametrize(("views", "symmetric"), FORMS)
def test_while_the_bank_fills_the_first_view_alone_is_asked_for_the_last(views: int, symmetric: bool) -> None:
    rng = np.random.default_rng(6)
    w = rng.standard_normal((8, 4)) * 2
    module = method(w, 0.05, keyed=8, symmetric=symmetric)
    module.bank.requires_grad_(False)  # as long as it waits
    given = [unit(rng, 4, 4) for _ in range(views)]
    x = [torch.tensor(e)[:, :, None, None].requires_grad_() for e in given]
    ids = torch.arange(4)
    found = module(Views(tuple(x), x[0], x[0] > 0, ids, ids), lambda v: (x[v],))
    loss = found.main["discrimination"]
    assert loss.item() == pytest.approx(filling_loss(given[0], given[-1], w, 0.12), abs=1e-12)
    assert not found.adversaries
    loss.backward()
    assert [e.grad is not None and bool(e.grad.any()) for e in x] == [True, *[False] * (views - 1)]
    module.after_step(Through())
    np.testing.assert_allclose(module.bank[:4].detach(), given[-1], atol=1e-12)
    np.testing.assert_array_equal(module.bank[4:].detach(), w[4:])


# ---- learn_from: MoCo-v2 first, then the published game --------------------------------------------------------------


@pytest.mark.parametrize(("views", "symmetric"), FORMS)
def test_before_learn_from_it_is_moco_v2_and_after_it_the_published_game(views: int, symmetric: bool) -> None:
    """Losses, updates and the queue bit for bit; then a step of encoder and bank of published arithmetic."""
    made = []
    for build, memory in ((moco_v2.build, "queue"), (adco.build, "negatives")):
        torch.manual_seed(0)
        net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
        asked = {memory: 8, "symmetric": symmetric, "temperature": 0.2, "momentum": 0.9, "hidden": 6, "dim": 4}
        late = {"learn_from": 0.5, "steps": 10, "exclude": "none"} if build is adco.build else {"exclude": "none"}
        made.append(Pretext(net, method=build(encoder=net, **asked, **late)))
    theirs, ours = made
    optimizers = [torch.optim.AdamW(one.players()["main"], lr=1e-2) for one in made]
    assert ours.method.delays(4) == {"bank": 5}
    generator = torch.Generator().manual_seed(3)

    def batch() -> Views:
        x = tuple(torch.rand(4, 1, 8, 8, generator=generator) for _ in range(views))
        return Views(x, x[0], x[0] > 0, torch.arange(4), torch.arange(4))

    for _ in range(5):
        given, losses = batch(), []
        for one, optimizer in zip(made, optimizers, strict=True):
            found = one(given)
            assert not found.adversaries
            found.main["discrimination"].backward()
            optimizer.step()
            optimizer.zero_grad()
            one.after_step()
            losses.append(found.main["discrimination"].item())
        assert losses[0] == losses[1]
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, ours.state_dict()[name.replace("method.queue", "method.bank")]), name

    ours.activate(["discrimination", "bank"])
    given, ours = batch(), ours.double()
    given = given._replace(x=tuple(x.double() for x in given.x))
    found, w = ours(given), ours.method.bank.detach().numpy()
    q = [keys.embed(ours.method.head, ours.encoder(x)).detach().numpy() for x in given.x]
    k = [keys.embed(ours.method.key_encoder.head, ours.method.key_encoder.encoder(x)).numpy() for x in given.x]
    met = published_pairs(views, symmetric)
    main = sum(weight * play(q[a], k[b], w, 0.2).loss for a, b, weight in met)
    g = sum(weight * play(q[a], k[b], w, 0.02).g for a, b, weight in met)
    assert found.main["discrimination"].item() == pytest.approx(main, abs=1e-6)
    found.adversaries["bank"].backward()
    np.testing.assert_allclose(ours.method.bank.grad.numpy(), g, atol=1e-6)


@pytest.mark.parametrize(
    ("time", "steps", "first"), [(0.8, 10, 8), (0.8, 2, 1), ("3 steps", 10, 3), (0, 10, 0), (1.0, 4, 4)]
)
def test_learn_from_is_a_time(time: Any, steps: int, first: int) -> None:
    """A share leaves the bank a step even in a run of two."""
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    assert adco.build(encoder=net, negatives=8, hidden=4, dim=4, steps=steps, learn_from=time).learn_from == first


def test_a_row_that_was_a_key_of_a_patient_is_no_negative_of_that_patient() -> None:
    rng = np.random.default_rng(7)
    module = method(unit(rng, 8, 4), 0.05, learn_from=2)
    module.bank.requires_grad_(False)
    forward(module, unit(rng, 4, 4), unit(rng, 4, 4))
    module.after_step(Through())
    module.bank.requires_grad_(True)
    forward(module, unit(rng, 4, 4), unit(rng, 4, 4))
    assert module.diagnostics["masked"].item() == pytest.approx((1 + 1) / (4 + 8))  # the own key, and one row


# ---- properties ------------------------------------------------------------------------------------------------------


@pytest.fixture
def given() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return unit(rng, 6, 4), unit(rng, 6, 4), rng.standard_normal((9, 4)) * 3


def test_the_gradient_is_orthogonal_to_the_bank_so_norms_only_grow(given: Any) -> None:
    q, k, w = given
    module = method(w, 0.1)
    g = bank_gradient(module, q, k)
    np.testing.assert_allclose((g * w).sum(1), 0, atol=1e-12)
    step(module, sgd(module, lr=2.0, momentum=0, decay=0), q, k)
    after = module.bank.detach().numpy()
    np.testing.assert_allclose((after**2).sum(1), (w**2).sum(1) + 4 * (g**2).sum(1), rtol=1e-12)


def test_the_gradient_shrinks_as_the_norm_grows_and_follows_permutations(given: Any) -> None:
    q, k, w = given
    g = bank_gradient(method(w, 0.1), q, k)
    scale, order = np.arange(1.0, 10.0)[:, None], np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(bank_gradient(method(w * scale, 0.1), q, k), g / scale, rtol=1e-9)
    np.testing.assert_allclose(bank_gradient(method(w[order], 0.1), q, k), g[order], rtol=1e-9)


def test_a_small_step_raises_the_loss(given: Any) -> None:
    q, k, w = given
    module = method(w, 0.1)
    before = step(module, sgd(module, lr=0.01, momentum=0, decay=0), q, k)
    assert -forward(module, q, k).adversaries["bank"].item() > before


def test_shares_sum_to_one(given: Any) -> None:
    found = play(*given, 0.02)
    np.testing.assert_allclose(found.p.sum(1) + found.p_keys.sum(1), 1, rtol=1e-12)


def test_a_cold_bank_follows_the_queries_that_are_nearest_to_it(given: Any) -> None:
    q, k, w = given
    tau_m, n = 1e-4, w / np.linalg.norm(w, axis=1, keepdims=True)
    nearest = np.concatenate([q @ k.T, q @ n.T], 1).argmax(1) - len(k)
    assert (nearest >= 0).any()
    expected = np.zeros_like(w)
    for i, j in enumerate(nearest):
        if j >= 0:
            expected[j] -= (q[i] - q[i] @ n[j] * n[j]) / (tau_m * np.linalg.norm(w[j]) * len(q))
    np.testing.assert_allclose(bank_gradient(method(w, tau_m), q, k), expected, rtol=1e-6, atol=1e-6)


def test_reading_the_bank_leaves_it_unnormalised() -> None:
    module = method(W, 0.5)
    forward(module, Q, Q)
    np.testing.assert_array_equal(module.bank.detach().numpy(), W)


# ---- the published order of one step, against one backward over all players ------------------------------------------


def published_pairs(views: int, symmetric: bool) -> list[tuple[int, int, float]]:
    """Query, key and weight of each loss once the bank plays."""
    if views > 2:
        return [(query, 0, 1.0) for query in range(1, views)]
    return [(0, 1, 0.5), (1, 0, 0.5)] if symmetric else [(0, 1, 1.0)]


@pytest.mark.parametrize(("views", "symmetric"), FORMS)
@pytest.mark.parametrize("init", ["gaussian", "keys"])
def test_steps_of_the_players_are_steps_of_the_published_order(views: int, symmetric: bool, init: Any) -> None:
    """q; theta_k; k; loss with the current bank; step on theta; then the bank, from the same q and k.

    With keys, two steps fill the bank first: their loss is of the first view and the last.
    """

    def made() -> Pretext:
        torch.manual_seed(0)
        net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
        asked = {"negatives": 8, "init": init, "symmetric": symmetric, "momentum": 0.9, "hidden": 6, "dim": 4}
        return Pretext(net, method=adco.build(encoder=net, **asked)).double()

    ours, theirs = made(), made()
    main = torch.optim.SGD(ours.players()["main"], lr=0.03, momentum=0.9, weight_decay=1e-4)
    bank = torch.optim.SGD([ours.method.bank], lr=3.0, momentum=0.9, weight_decay=1e-4)

    net, head, average = theirs.encoder, theirs.method.head, theirs.method.key_encoder
    theta = [*net.parameters(), *head.parameters()]
    theta_k = [*average.encoder.parameters(), *average.head.parameters()]
    hand = torch.optim.SGD(theta, lr=0.03, momentum=0.9, weight_decay=1e-4)
    w = theirs.method.bank.detach().numpy().copy()
    v = np.zeros_like(w)

    def embed(e: nn.Module, h: nn.Module, x: torch.Tensor) -> torch.Tensor:
        z = h(e(x)[-1].mean((2, 3)))
        return z / z.norm(dim=1, keepdim=True)

    def follow(share: float) -> None:
        with torch.no_grad():
            for a, b in zip(theta_k, theta, strict=True):
                a.copy_(share * a + (1 - share) * b)

    generator = torch.Generator().manual_seed(3)
    for step in range(6):
        filling = init == "keys" and step < 2
        ours.method.bank.requires_grad_(not filling)
        x = tuple(torch.rand(4, 1, 8, 8, generator=generator, dtype=torch.float64) for _ in range(views))
        found = ours(Views(x, x[0], x[0] > 0, torch.arange(4), torch.arange(4)))
        assert bool(found.adversaries) is not filling
        sum([found.main["discrimination"], *found.adversaries.values()]).backward()
        for optimizer in [main] if filling else [main, bank]:
            optimizer.step()
            optimizer.zero_grad()
        ours.after_step()

        q = [embed(net, head, image) for image in x]
        follow(0.9)
        with torch.no_grad():
            k = [embed(average.encoder, average.head, image) for image in x]
        n = torch.tensor(w / np.linalg.norm(w, axis=1, keepdims=True))
        met = [(0, views - 1, 1.0)] if filling else published_pairs(views, symmetric)
        loss = torch.zeros((), dtype=torch.float64)
        for a, b, weight in met:
            own = (q[a] * k[b]).sum(1, keepdim=True) if filling else q[a] @ k[b].T
            label = torch.zeros(4, dtype=torch.int64) if filling else torch.arange(4)
            loss = loss + weight * nn.functional.cross_entropy(torch.cat([own, q[a] @ n.T], 1) / 0.12, label)
        hand.zero_grad()
        loss.backward()
        hand.step()
        assert found.main["discrimination"].item() == pytest.approx(loss.item(), abs=1e-12)
        if filling:
            w[4 * step : 4 * step + 4] = k[-1].numpy()
            follow(0.0 if step == 1 else 1.0)
        else:
            g = sum(weight * play(q[a].detach().numpy(), k[b].numpy(), w, 0.02).g for a, b, weight in met)
            w, v = published_step(w, v, g, 3.0, 0.9, 1e-4)

    np.testing.assert_allclose(ours.method.bank.detach().numpy(), w, atol=1e-10)
    for a, b in zip([*ours.encoder.parameters(), *ours.method.head.parameters()], theta, strict=True):
        assert_close(a.detach(), b.detach(), atol=1e-10, rtol=0)


# ---- what the bank holds before any key ------------------------------------------------------------------------------


def test_random_rows_have_normal_entries_so_that_they_are_about_sqrt_d_long() -> None:
    """11.3 at D = 128, as in the release: g falls with the length, unit rows would turn eleven times as fast."""
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    for settings in ({"init": "gaussian"}, {"init": "keys", "fill": "gaussian"}):
        rows = adco.build(encoder=net, negatives=4096, samples=512, hidden=4, **settings).bank.detach().numpy()
        assert rows.mean() == pytest.approx(0, abs=5 / np.sqrt(rows.size))
        assert rows.var() == pytest.approx(1, abs=5 * np.sqrt(2 / rows.size))
        assert stats.kstest(rows[:200].ravel(), "norm").pvalue > 1e-3
        assert np.linalg.norm(rows, axis=1).mean() == pytest.approx(np.sqrt(128), rel=0.01)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Mean angle between rows, in degrees."""
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(np.degrees(np.arccos(cosines)).mean())


def test_a_row_of_the_releases_length_turns_by_the_releases_angle() -> None:
    """Ten steps of the same game from random rows of normal entries, and from the same rows as unit vectors."""
    rng = np.random.default_rng(8)
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))
    start = adco.build(encoder=net, negatives=64, init="gaussian", hidden=4).bank.detach().double().numpy()
    play_on = [(unit(rng, 16, 128), unit(rng, 16, 128)) for _ in range(10)]

    def turned(w: np.ndarray) -> float:
        module = method(w, 0.02)
        optimizer = sgd(module)
        for q, k in play_on:
            step(module, optimizer, q, k)
        return angle(w, module.bank.detach().numpy())

    def published(w: np.ndarray) -> float:
        first, v = w, np.zeros_like(w)
        for q, k in play_on:
            w, v = published_step(w, v, play(q, k, w, 0.02).g, 3.0, 0.9, 1e-4)
        return angle(first, w)

    drawn = np.random.default_rng(9).standard_normal((64, 128))
    assert turned(start) == pytest.approx(published(drawn), rel=0.1)
    assert turned(start / np.linalg.norm(start, axis=1, keepdims=True)) > 5 * turned(start)
