"""Laws of tasks: training and scores use the task's own target, and better predictions score higher."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import patches
from medssl.kinds import named, resolve, varied
from medssl.models.decoder import unet
from medssl.models.encoder import tiny
from medssl.patches import CaseCache, PatchDataset
from medssl.tasks.task import Task
from medssl.testing import laws
from medssl.testing.laws import law, sentence

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Losses

CASES, SIDE, STEPS, RATE, SURE = 4, 16, 60, 1e-2, 40.0
CLASSES = ["first", "second"]
STILL = {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "elastic": 0.0}


def check_task(task: str | ModuleType | Callable[..., Any], /, **settings: Any) -> None:
    """Check a task in 2D with two classes. Raises `LawError`.

    - It has the interface of `medssl.tasks.task.Task`; its module has `names` (of the classes) and `labelled`.
    - `target` does not modify the labels, and is what a training sample contains.
    - Every parameter of its network gets a gradient, permuting the batch does not change the loss, and training lowers
      it. (Tasks without training skip this.)
    - If logits have one channel per class, a right prediction has a lower loss and a higher score than a wrong one.
    - The score is in `summary`, `resampled` of all rows gives the same number, and rows can be stored as JSON.

    Args:
        task: the task: a kind, a module or a `build`.
        settings: passed to `build`.
    """
    module = resolve("task", task) if isinstance(task, str) else task
    build = laws.build_of("task", task)
    supplied = {"spatial_dims": 2, "channels": 1, "classes": settings.get("classes", CLASSES)}
    with laws.within("a task can be built"):
        made: Task = build(**{**named(build, supplied), **settings})
    laws.interface(made, Task, "a task")
    bench = Bench(made)
    if isinstance(module, ModuleType):
        _check_module(varied(module, settings), bench)
    _check_target(bench)
    torch.manual_seed(0)
    with laws.within("a network can be made"):
        network = bench.network()
    if any(parameter.requires_grad for parameter in network.parameters()):
        _check_training(bench, network)
        _check_right(bench, network)


class Case(NamedTuple):
    """A case with two classes: blocks of different brightness at positions of its own."""

    label: np.ndarray
    image: np.ndarray
    about: Any


class Bench:
    """A task with labelled cases."""

    def __init__(self, task: Task) -> None:
        self.task, self.cases = task, [_case(number, task.dense) for number in range(CASES)]

    def case_cache(self) -> CaseCache:
        """The cases as training reads them."""
        by_name = {case.about.id: case for case in self.cases}
        cache: Any = SimpleNamespace(
            cases={name: case.about for name, case in by_name.items()},
            image=lambda name: by_name[name].image,
            label=lambda name: by_name[name].label,
        )
        return CaseCache(cache, self.task)

    def targets(self) -> list[np.ndarray]:
        """The target of each case."""
        asked = [(case.about.classes, case.label.copy() if self.task.dense else None) for case in self.cases]
        return [np.asarray(self.task.target(names, label, "case")) for names, label in asked]

    def batch(self) -> tuple[Tensor, Tensor]:
        """All images (N,1,*S) and targets."""
        x = torch.from_numpy(np.stack([case.image for case in self.cases]))
        targets = [t.astype(np.int64) if t.dtype.kind in "biu" else t for t in self.targets()]
        return x, torch.from_numpy(np.stack(targets))

    def network(self) -> nn.Module:
        """The task's network on a small encoder."""
        encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(8, 16))
        where: dict[str, Any] = {"channels": encoder.channels, "strides": encoder.strides}
        decoder = unet.build(spatial_dims=2, norm="group", skips="add", final="shuffle", **where)
        return self.task.model(encoder, decoder if self.task.dense else None)

    def score(self, logits: Tensor) -> float:
        """The score of a network that always returns these logits."""
        rows = []
        for case, target, one in zip(self.cases, self.targets(), logits, strict=True):
            x = torch.from_numpy(case.image)[None]
            prediction = self.task.predict(_Says(one[None]), x, (SIDE, SIDE))[0]
            rows.append(self.task.metrics(prediction, target, (1.0, 1.0)))
        with laws.within("rows are what JSON can hold"):
            json.dumps(rows)
        summary = self.task.summary(rows)
        law("the score is in the summary", self.task.score in summary, f"{self.task.score} is none of {list(summary)}")
        value, again = float(summary[self.task.score]), float(self.task.resampled(rows)(np.arange(len(rows))))
        law("resampled of all rows is the score", abs(value - again) < 1e-6, f"{again} where the summary has {value}")
        return value


class _Says(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x_BC: Tensor) -> Tensor:
        return self.logits.expand(len(x_BC), *self.logits.shape[1:])


def _case(number: int, dense: bool) -> Case:
    label, low = np.zeros((1, SIDE, SIDE), np.uint8), 1 + number
    label[0, low : low + 5, 2:7] = 1
    label[0, 14 - low - 5 : 14 - low, 9:14] = 2
    one = number % 2
    noise = 0.05 * np.random.default_rng(number).random((1, SIDE, SIDE), np.float32)
    image = (label / 3 if dense else (label == 1 + one) * 0.9).astype(np.float32) + noise
    about = SimpleNamespace(
        id=f"case{number}", patient=f"patient{number}", classes=(CLASSES[one],), has_label=True, channels=1,
        shape=(SIDE, SIDE), spacing=(1.0, 1.0), intensity=((0.0, 1.0),), preset="mr",
    )  # fmt: skip
    return Case(label, image, about)


def _check_module(module: Any, bench: Bench) -> None:
    missing = [name for name in ("names", "labelled") if not hasattr(module, name)]
    law("the module of a task has names and labelled", not missing, f"{sentence(missing)} missing")
    labels = {case.about.id: case.label for case in bench.cases}
    with laws.within("names gives the classes, and labelled what can be trained on"):
        found = module.names(None, [case.about for case in bench.cases], labels.__getitem__)
        good = bool(found) and all(isinstance(name, str) for name in found)
        labelled = [bool(module.labelled(case.about)) for case in bench.cases]
    law("names gives the classes of the training cases", good, f"{found}")
    law("a case with a label volume and a class is labelled", all(labelled), f"{labelled}")


def _check_target(bench: Bench) -> None:
    for case in bench.cases:
        label = case.label.copy()
        with laws.within("a case has a target"):
            target = bench.task.target(case.about.classes, label if bench.task.dense else None, case.about.id)
        law("target leaves the label volume as it is", bool((label == case.label).all()), f"{case.about.id} is changed")
        law("a target is an array of numbers", getattr(target, "dtype", np.dtype("O")).kind in "biuf", f"{target!r}")
    augment = patches.build(
        spatial_dims=2, size=[SIDE, SIDE], preset="mr", warp=STILL, intensity=[], foreground=0.0, scale=(1.0, 1.0)
    )
    data = PatchDataset(bench.case_cache(), [case.about.id for case in bench.cases], augment, 0)
    for number, target in enumerate(bench.targets()):
        seen = data[0, number][1].numpy()
        said = f"{bench.cases[number].about.id} is trained on {np.unique(seen)}, its target holds {np.unique(target)}"
        law("a training sample holds the task's target", np.array_equal(seen, target), said)


def _check_training(bench: Bench, network: nn.Module) -> None:
    x, target = bench.batch()
    optimizer, alive, values = torch.optim.Adam(network.parameters(), RATE), set(), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with laws.within("the loss of logits and targets can be taken"):
            found = bench.task.loss(network.train()(x), target)
            total = _total(found)
        law("the losses are finite scalars", bool(total.isfinite()), f"{found.main}")
        total.backward()
        values.append(float(total.detach()))
        alive |= laws.alive(network)
        optimizer.step()
    dead = {name for name, parameter in network.named_parameters() if parameter.requires_grad} - alive
    law("every parameter gets a gradient that is not zero", not dead, f"none reached {sentence(dead)}")
    fell = values[-1] < 0.7 * values[0]
    law(f"{STEPS} steps on the same cases lower the loss", fell, f"{values[0]:.4g} became {values[-1]:.4g}")
    order = torch.randperm(CASES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = network.eval()(x)
        one, two = (_total(bench.task.loss(logits[i], target[i])) for i in (torch.arange(CASES), order))
    law("permuting the batch leaves the loss", bool(torch.isclose(one, two, rtol=1e-4)), f"{one:.7g} became {two:.7g}")


def _total(losses: Losses) -> Tensor:
    return torch.stack(list(losses.main.values())).sum()


def _right(logits: Tensor, target: Tensor) -> Tensor | None:
    """Confident right logits, if there is one channel per class; None for other tasks."""
    whole = not target.is_floating_point()
    if whole and logits.shape[:1] + logits.shape[2:] == target.shape and int(target.max()) < logits.shape[1]:
        return functional.one_hot(target, logits.shape[1]).movedim(-1, 1).float() * SURE
    return (target.float() - 0.5) * SURE if logits.shape == target.shape and logits.ndim == 2 else None


def _check_right(bench: Bench, network: nn.Module) -> None:
    x, target = bench.batch()
    with torch.no_grad():
        logits = network.eval()(x)
    right = _right(logits, target)
    if right is None:
        return
    wrong = right.roll(1, 1)
    costs = [float(_total(bench.task.loss(each, target))) for each in (right, torch.zeros_like(right), wrong)]
    said = "right {:.4g}, unsure {:.4g}, wrong {:.4g}".format(*costs)
    law("a right prediction costs less than an unsure one, a wrong one more", costs == sorted(set(costs)), said)
    with laws.within("cases can be predicted and scored"):
        scores = bench.score(right), bench.score(wrong)
    said = "right {:.4g}, wrong {:.4g}".format(*scores)
    law("a right prediction scores more than a wrong one", scores[0] > scores[1], said)
