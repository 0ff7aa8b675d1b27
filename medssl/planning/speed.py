"""How long the steps of a recipe take on this device, stage by stage, from a few passes on random views."""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from medssl.build import parts as build
from medssl.data.cache import Case
from medssl.engine import players
from medssl.engine.meter import peak_memory
from medssl.models.sizes import per_axis
from medssl.types import Views, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medssl.build.parts import Parts
    from medssl.recipe import PretrainRecipe

SAMPLES = 1000  # cases assumed where the data is not known: they bound queues and banks
ENOUGH = 1.0  # seconds of a pass that are worth timing: smaller batches are made larger
QUICK = 4.0  # seconds of a pass, under which every stage is timed for itself
WARM, TIMED = 3, 5  # samples whose views are made first, since they compile, and then
SOURCE = 1.5  # side of an image, in sides of a view, from which views are made


class Stage(NamedTuple):
    """Steps `start` to `stop` with the same losses, and how long one of them takes."""

    start: int
    stop: int
    losses: tuple[str, ...]
    seconds: float


class Speed(NamedTuple):
    """What was measured: steps of the recipe's own batch, views made by the training process or by its workers."""

    stages: list[Stage]
    views: float  # seconds that one process needs to make the views of a step
    batch: int  # samples of the passes that were timed
    memory: int | None  # bytes at the peak of these passes

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return sum((stage.stop - stage.start) * stage.seconds for stage in self.stages) / 3600


def measure(recipe: PretrainRecipe, device: torch.device) -> Speed:
    """Time the steps of a recipe. Later stages of a slow network are told from their floating-point operations."""
    parts = build.pretrain_parts(recipe, samples=SAMPLES)
    parts.pretext.to(device)
    spans = _spans(parts)
    share = recipe.train.batch // recipe.train.accumulate
    batch, first = _grown(parts, spans[0][2], share, device)
    passes = [first]
    if first < QUICK:
        passes += [_timed(parts, on, batch, device) for _, _, on in spans[1:]]
    elif len(spans) > 1:
        small = smallest(parts)
        work = [_flops(parts, on, small, device) for _, _, on in spans]
        passes += [first * flops / work[0] for flops in work[1:]]
    per_view = _views_seconds(parts)
    views, workers = per_view * recipe.train.batch, recipe.data.workers
    stages = []
    for (start, stop, on), seconds in zip(spans, passes, strict=True):
        learning = seconds / batch * recipe.train.batch
        whole = max(learning, views / workers) if workers else learning + views
        stages.append(Stage(start, stop, tuple(sorted(on & parts.weights.keys())), whole))
    return Speed(stages, views, batch, peak_memory(device))


def rough_hours(recipe: PretrainRecipe, device: torch.device) -> float:
    """Hours of a run, told in seconds from passes on the smallest views, scaled by voxels: right to a factor of 3."""
    parts = build.pretrain_parts(recipe, samples=SAMPLES)
    parts.pretext.to(device)
    small = smallest(parts)
    voxels = sum(map(_count, parts.views.sizes)) / sum(map(_count, small))
    seconds = 0.0
    for start, stop, on in _spans(parts):
        step = voxels * _timed(parts, on, 2, device, small) / 2 * recipe.train.batch
        seconds += (stop - start) * step
    return seconds / 3600


def _spans(parts: Parts) -> list[tuple[int, int, set[str]]]:
    """Spans of steps with the same losses; adversaries play as soon as what they oppose is on."""
    steps = parts.recipe.train.steps
    turns = {0, steps} | {turn for weight in parts.weights.values() for turn in (weight.start, weight.end or 0)}
    edges = sorted(turn for turn in turns if turn <= steps)
    waiting = parts.pretext.method.delays(parts.recipe.train.batch) if parts.pretext.method is not None else {}
    adversaries = set(parts.pretext.names()) - set(parts.weights) - set(waiting)
    return [
        (start, stop, {name for name, weight in parts.weights.items() if weight(start) > 0} | adversaries)
        for start, stop in pairwise(edges)
    ]


def smallest(parts: Parts) -> list[tuple[int, ...]]:
    """Views as small as the encoder takes, for counting; never larger than the real ones."""
    net: Any = parts.pretext.encoder
    dims = parts.recipe.spatial_dims
    least = [2 * deepest for deepest in per_axis(net.strides[-1], dims)]
    return [tuple(min(n, low) for n, low in zip(size, least, strict=True)) for size in parts.views.sizes]


def _flops(parts: Parts, on: set[str], sizes: Sequence[tuple[int, ...]], device: torch.device) -> int:
    step = _stepper(parts, on, 2, device, sizes)
    counter: Any = FlopCounterMode(display=False)
    counter.mod_tracker = _NoTracker()  # the counter's own cannot follow the adversary's inner gradient
    with counter:
        step()
    return int(counter.get_total_flops())


class _NoTracker:
    """Keeps no account of which module works."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _grown(parts: Parts, on: set[str], most: int, device: torch.device) -> tuple[int, float]:
    """The batch, at most `most`, whose pass takes long enough to be timed, and its seconds."""
    batch = min(2, most)
    seconds = _timed(parts, on, batch, device)
    while seconds < ENOUGH and batch < most:
        batch = min(most, 4 * batch)
        seconds = _timed(parts, on, batch, device)
    return batch, seconds


def _timed(
    parts: Parts, on: set[str], batch: int, device: torch.device, sizes: Sequence[tuple[int, ...]] | None = None
) -> float:
    """Seconds of a step of all players: the second, where the first is not slow by itself."""
    step = _stepper(parts, on, batch, device, sizes or parts.views.sizes)
    seconds = 0.0
    for _ in range(2):
        begun = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begun
        if seconds > QUICK:
            break
    return seconds


def _stepper(
    parts: Parts, on: set[str], batch: int, device: torch.device, sizes: Sequence[tuple[int, ...]]
) -> Callable[[], None]:
    """A step as the loop makes it, on random views."""
    pretext, views = parts.pretext, _random_views(parts, batch, device, sizes)
    pretext.activate(on)
    optimizers = players.rebuild(pretext.players(), parts.specs, {})
    half = parts.recipe.train.precision == "bf16" and device.type == "cuda"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            losses = pretext(views)
            total = torch.stack([*losses.main.values(), *losses.adversaries.values()]).sum()
        total.backward()
        players.step(optimizers, parts.specs, players.norms(optimizers))
        pretext.after_step(0)

    return step


def _random_views(parts: Parts, batch: int, device: torch.device, sizes: Sequence[tuple[int, ...]]) -> Views:
    channels = parts.recipe.channels
    images = tuple(torch.rand(batch, channels, *size, device=device) for size in sizes)
    mask = torch.zeros((batch, 1, *sizes[0]), dtype=torch.bool, device=device)
    index = torch.arange(batch, device=device)
    corrupted = torch.rand_like(images[0]) if parts.views.apart else None
    return Views(images, torch.rand_like(images[0]), mask, index, index, corrupted)


def _views_seconds(parts: Parts) -> float:
    """Seconds to make the views of one sample, from an image somewhat larger than they are."""
    shape = tuple(int(SOURCE * n) for n in parts.views.sizes[0])
    channels = parts.recipe.channels
    rng = np.random.default_rng(0)
    image = rng.random((channels, *shape), np.float32)
    whole = Window((0,) * len(shape), shape)
    ranges = ((0.0, 1.0),) * channels
    case = Case("random", shape, (1.0,) * len(shape), channels, "OT", "", "", "", (), False, ranges, whole)
    found = []
    for _ in range(WARM + TIMED):
        begun = time.perf_counter()
        parts.views(image, case, 0, parts.policy, rng)
        found.append(time.perf_counter() - begun)
    return median(found[WARM:])


def _count(size: Sequence[int]) -> float:
    return float(np.prod(size))
