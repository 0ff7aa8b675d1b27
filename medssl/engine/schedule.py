"""Values over the steps of a run: times, weights of losses, learning rates; and the optimizers that follow them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from medssl.times import steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from torch.optim import Optimizer


class OptimizerSpec(NamedTuple):
    """What one player's optimizer is made of."""

    kind: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float  # of sgd
    weight_decay: float
    betas: Sequence[float]  # of adam and adamw
    schedule: Literal["cosine", "constant"]
    warmup: int | float | str  # a time, as `medssl.times` reads it
    final_lr: float
    clip: float | None  # the largest norm of this player's gradient


class Weight(NamedTuple):
    """The weight of a loss over time, in steps: 0 before `start`, then a linear ramp of `warmup` steps to `value`.

    From `end` on it is 0 again; None: it lasts as long as the run.
    """

    value: float
    start: int = 0
    warmup: int = 0
    end: int | None = None

    def __call__(self, step: int) -> float:
        """The weight at `step`, counted from 0; the first step of a ramp already has a part of it."""
        if step < self.start or (self.end is not None and step >= self.end):
            return 0.0
        ramp = (step - self.start + 1) / self.warmup if self.warmup else 1.0
        return self.value * min(1.0, ramp)


def learning_rate(spec: OptimizerSpec, step: int, total: int) -> float:
    """The rate at `step` of `total`: linear warm-up, then constant, or f + (lr - f) (1 + cos(pi t)) / 2 down to f."""
    warmup = steps_of(spec.warmup, total)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    if spec.schedule == "constant":
        return spec.lr
    t = (step - warmup) / max(1, total - warmup)
    return spec.final_lr + (spec.lr - spec.final_lr) * 0.5 * (1 + math.cos(math.pi * t))


def optimizer(spec: OptimizerSpec, parameters: Sequence[Tensor]) -> Optimizer:
    """The optimizer of one player over its parameters."""
    if spec.kind == "sgd":
        return torch.optim.SGD(parameters, spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.kind]
    return kind(parameters, spec.lr, betas=(spec.betas[0], spec.betas[1]), weight_decay=spec.weight_decay)
