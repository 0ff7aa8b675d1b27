"""Laws of base methods: which parameters get a gradient, what copies do, and that the method learns."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medssl.kinds import named
from medssl.methods.base import Method
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.testing import laws
from medssl.testing.copies import apart, copies, inside
from medssl.testing.laws import law, sentence
from medssl.types import InputError, Views

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import ModuleType

    from medssl.types import Losses

STEPS, BATCH, SIDE, RATE, NOISE = 50, 8, 16, 3e-3, 0.05
CLOSE = 1e-4  # relative difference of losses that summing in another order may cause
CLEAR = 1e-3  # smallest relative difference of losses that counts as one


def check_method(
    method: str | ModuleType | Callable[..., Any], /, *, cancelled: Collection[str] = (), **settings: Any
) -> None:
    """Check a base method on a small 2D encoder with batch norm. Raises `LawError`.

    - It has the interface of `medssl.methods.base.Method`.
    - Every main parameter gets a non-zero gradient, except for those that a normalisation cancels: biases, and the
      parameters named in `cancelled`.
    - No gradient reaches a copy (the key encoder) or an adversary; the loss of an adversary reaches only its own
      parameters.
    - A state dict loaded into a new method gives the same next loss. Permuting the batch does not change the loss.
    - `begin` makes copies equal, and `after_step` moves them if and only if `momentum` is below 1.
    - After 50 steps, a view predicts the other view of its sample better than those of other samples; for methods of
      two views, equal views have a lower loss than views of different samples.

    Args:
        method: the method: a kind, a module or a `build`.
        cancelled: names of parameters that a normalisation cancels, such as "method.head.2.weight".
        settings: passed to `build`.
    """
    bench = Bench(laws.build_of("method", method), settings)
    with laws.within("a method can be built, and trained on two views or more"):
        pretext = bench.made()
        laws.interface(pretext.method, Method, "a method")
        bench.count_views(pretext)
        bench.train(pretext, set(cancelled))
    _check_state(bench, pretext)
    _check_permutation(bench, pretext)
    _check_copies(bench)
    _check_learned(bench, pretext)


class Bench:
    """A method with given settings on a small encoder, and batches for it."""

    def __init__(self, build: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.build, self.settings, self.views = build, settings, 2

    def made(self, seed: int = 0, **changed: Any) -> Pretext:
        """A new method on a new encoder, before step 0."""
        torch.manual_seed(seed)
        encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(8, 16), norm="batch")
        supplied = {"encoder": encoder, "spatial_dims": 2, "samples": BATCH, "batch": BATCH, "steps": STEPS}
        return Pretext(encoder, method=self.build(**self.settings | changed, **named(self.build, supplied))).train()

    def again(self, pretext: Pretext) -> Pretext:
        """A new method that loaded the state dict of `pretext`."""
        made = self.made(seed=1)
        made.load_state_dict(pretext.state_dict())
        made.activate(set(made.names()))
        return made

    def count_views(self, pretext: Pretext) -> None:
        """Find the number of views that the method needs: two if possible."""
        for self.views in (2, *range(3, 13), 1):
            try:
                return pretext.check_views(self.views)
            except InputError:
                continue

    def batch(self, step: int) -> Views:
        """Views of the same samples, with other noise in each step."""
        clean, draw = laws.phantoms(BATCH, (1, SIDE, SIDE), 0), torch.Generator().manual_seed(step)
        x = [(clean + NOISE * torch.randn(clean.shape, generator=draw)).clamp(0, 1) for _ in range(self.views)]
        return _views(*x)

    def train(self, pretext: Pretext, cancelled: set[str]) -> None:
        """Train for fifty steps, and check in each which parameters get a gradient."""
        pretext.begin()
        delays = pretext.method.delays(BATCH) if pretext.method is not None else {}
        alive: set[str] = set()
        optimizers: dict[str, torch.optim.Optimizer] = {}
        for step in range(STEPS):
            pretext.activate({name for name in pretext.names() if step >= delays.get(name, 0)})
            for name, parameters in pretext.players().items():
                optimizers.setdefault(name, torch.optim.Adam(parameters, RATE))
            pretext.zero_grad()
            alive |= _gradients(pretext, pretext(self.batch(step)), step)
            for optimizer in optimizers.values():
                optimizer.step()
            pretext.after_step(step)
        ours = {id(p) for p in pretext.players()["main"]}
        dead = {name for name, p in pretext.named_parameters() if id(p) in ours} - alive - cancelled
        said = f"in {STEPS} steps none reached {sentence(dead)}"
        law("every main parameter gets a gradient that is not zero", not dead, said)


def loss_of(pretext: Pretext, views: Views) -> float:
    """The main loss of a batch, without gradient."""
    torch.manual_seed(0)
    with torch.no_grad():
        return float(pretext(views).main["discrimination"])


def _views(*x: Tensor, owner: Tensor | None = None) -> Views:
    """Views of the samples `owner`, each of its own patient."""
    owner = torch.arange(len(x[0])) if owner is None else owner
    return Views(x, x[0], torch.zeros_like(x[0], dtype=torch.bool), owner, owner)


def _gradients(pretext: Pretext, found: Losses, step: int) -> set[str]:
    """Check that each loss reaches only its own parameters; returns the main parameters that got a gradient."""
    ok = set(found.main) == {"discrimination"} and all(loss.ndim == 0 for loss in found.main.values())
    law(
        "the main loss is one scalar called discrimination",
        ok,
        f"{ {k: tuple(v.shape) for k, v in found.main.items()} }",
    )
    value = float(found.main["discrimination"].detach())
    law("the loss is finite", value == value and abs(value) < float("inf"), f"{value} at step {step}")
    law("the loss has a gradient", found.main["discrimination"].requires_grad, f"none at step {step}")
    players = pretext.players()
    name_of = {id(parameter): name for name, parameter in pretext.named_parameters()}
    main = {name_of[id(parameter)] for parameter in players.pop("main")}
    found.main["discrimination"].backward(retain_graph=bool(found.adversaries))
    alive = laws.alive(pretext)
    copied = {name for copy, _ in copies(pretext, frozen=False) for name in inside(pretext, copy)}
    strays = (alive - main) | (alive & copied)
    law(
        "the main loss reaches no copy and no adversary", not strays, f"at step {step} a gradient of {sentence(strays)}"
    )
    for name, loss in found.adversaries.items():
        pretext.zero_grad()
        loss.backward(retain_graph=True)
        own, reached = {name_of[id(parameter)] for parameter in players[name]}, laws.alive(pretext)
        said = f"at step {step} {name} reached {sentence(reached) or 'nothing'}, its own are {sentence(own)}"
        law("an adversary's loss reaches all its own parameters, and no others", reached == own, said)
    if found.adversaries:
        pretext.zero_grad()
        torch.stack([*found.main.values(), *found.adversaries.values()]).sum().backward()
    return alive & main


def _check_state(bench: Bench, pretext: Pretext) -> None:
    name = "a state dict that is loaded into a new method gives the same next losses"
    with laws.within(name):
        other = bench.again(pretext)
    views = bench.batch(STEPS)
    one, two = loss_of(bench.again(pretext), views), loss_of(pretext, views)
    law(name, abs(one - two) <= CLOSE * max(1, abs(two)), f"{one:.7g} where the method itself has {two:.7g}")
    both = (other, bench.again(pretext))
    law(name, len({loss_of(each, views) for each in both}) == 1, "two methods of one state differ")


def _check_permutation(bench: Bench, pretext: Pretext) -> None:
    views, order = bench.batch(STEPS), torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))
    moved = _views(*(x[order] for x in views.x), owner=order)
    one, two = (loss_of(bench.again(pretext), each) for each in (views, moved))
    same = abs(one - two) <= CLOSE * max(1, abs(one))
    law("permuting the batch leaves the loss", same, f"{one:.7g} became {two:.7g}")


def _disturb(pretext: Pretext, seed: int) -> None:
    """Change all trained parameters, as loading weights or a step would."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in pretext.players()["main"]:
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)


def _check_copies(bench: Bench) -> None:
    momentum = bench.settings.get("momentum", _default(bench.build, "momentum"))
    stands = [(momentum, momentum == 1)]
    if momentum is not None:
        stands += [(1.0, True), (0.9, False)]
    for value, still in stands:
        pretext = bench.made(**({} if value is None else {"momentum": value}))
        _disturb(pretext, 0)
        pretext.begin()
        pairs = [(part, min(twins, key=lambda twin: apart(part, twin))) for part, twins in copies(pretext)]
        for part, twin in pairs:
            gap = apart(part, twin)
            said = f"{sentence(inside(pretext, part))} are {gap:.3g} from what they are copies of"
            law("begin makes copies equal to what has been loaded", gap == 0, said)
        _disturb(pretext, 1)
        before = [apart(part, twin) for part, twin in pairs]
        held = [[p.detach().clone() for p in part.parameters()] for part, _ in pairs]
        pretext.after_step(0)
        for (part, twin), gap, old in zip(pairs, before, held, strict=True):
            moved = any(not torch.equal(a, b) for a, b in zip(old, part.parameters(), strict=True))
            said = f"momentum {value}: {sentence(inside(pretext, part))} {'moved' if moved else 'stood still'}"
            law("after_step moves copies if and only if momentum < 1", moved is not still, said)
            said = f"{said}, from {gap:.3g} to {apart(part, twin):.3g} away"
            law("after_step moves copies towards what they follow", still or apart(part, twin) < gap, said)


def _default(build: Callable[..., Any], name: str) -> Any:
    parameter = inspect.signature(build).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _check_learned(bench: Bench, pretext: Pretext) -> None:
    method, views = pretext.method, bench.batch(STEPS)
    assert method is not None
    if bench.views < 2:
        return
    with torch.no_grad(), laws.within("project and predict give embeddings (B,D)"):
        z1, z2 = (method.project(pretext.encoder(x)) for x in views.x[:2])
        said, other = (nn.functional.normalize(z - z.mean(0), dim=1) for z in (method.predict(z1), z2))
        cosines = said @ other.T
        own = float(cosines.diagonal().mean())
        rest = float((cosines.sum() - cosines.diagonal().sum()) / (BATCH * (BATCH - 1)))
    law(
        f"after {STEPS} steps a view predicts the other view of its sample better than those of other samples",
        own > rest + CLEAR,
        f"mean cosines {own:.4f} to its own, {rest:.4f} to others",
    )
    if bench.views == 2:
        x = views.x[0]
        equal, different = (loss_of(bench.again(pretext), _views(x, other)) for other in (x, x.roll(1, 0)))
        law(
            f"after {STEPS} steps equal views cost less than those of different samples",
            equal < different - CLEAR * max(abs(equal), abs(different)),
            f"{equal:.6g} for equal views, {different:.6g} for those of different samples",
        )
