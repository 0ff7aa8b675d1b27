"""Schedules over the steps of a run (loss weights, learning rates), and the optimizers that use them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from medssl.times import steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from torch.optim import Optimizer


POWER = 0.9  # of poly


class OptimizerSpec(NamedTuple):
    """The settings of one player's optimizer."""

    kind: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float  # of sgd
    nesterov: bool
    weight_decay: float
    betas: Sequence[float]  # of adam and adamw
    schedule: Literal["cosine", "constant", "poly"]
    warmup: int | float | str  # a time, as `medssl.times` reads it
    final_lr: float
    clip: float | None  # the largest norm of this player's gradient


class Weight(NamedTuple):
    """The weight of a loss over time, in steps: 0 before `start`, then a linear ramp of `warmup` steps to `value`.

    From `end` on it is 0 again; None: it lasts until the run ends.
    """

    value: float
    start: int = 0
    warmup: int = 0
    end: int | None = None

    def __call__(self, step: int) -> float:
        """The weight at `step`, counted from 0; a ramp is above 0 from its first step on."""
        if step < self.start or (self.end is not None and step >= self.end):
            return 0.0
        ramp = (step - self.start + 1) / self.warmup if self.warmup else 1.0
        return self.value * min(1.0, ramp)


def learning_rate(spec: OptimizerSpec, step: int, total: int) -> float:
    """The rate at `step` of `total`: a linear warm-up, then lr, or f + (lr - f) g(t), down to f = `final_lr`.

    t is the progress after the warm-up, from 0 to 1; g is (1 + cos(pi t)) / 2 for cosine, and (1 - t)^0.9 for poly, as
    in nnU-Net (Isensee et al. 2021, online methods).
    """
    warmup = steps_of(spec.warmup, total)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    if spec.schedule == "constant":
        return spec.lr
    t = (step - warmup) / max(1, total - warmup)
    if spec.schedule == "poly":
        return spec.final_lr + (spec.lr - spec.final_lr) * (1 - t) ** POWER
    return spec.final_lr + (spec.lr - spec.final_lr) * 0.5 * (1 + math.cos(math.pi * t))


def optimizer(spec: OptimizerSpec, *groups: Sequence[Tensor]) -> Optimizer:
    """The optimizer of one player over its parameters, in one or more groups."""
    each = [{"params": list(parameters)} for parameters in groups]
    decay = spec.weight_decay
    if spec.kind == "sgd":
        return torch.optim.SGD(each, spec.lr, momentum=spec.momentum, weight_decay=decay, nesterov=spec.nesterov)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.kind]
    return kind(each, spec.lr, betas=(spec.betas[0], spec.betas[1]), weight_decay=decay)
