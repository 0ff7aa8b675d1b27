"""BYOL (Grill et al. 2020) as a user would add it: one file, with a momentum schedule of its own."""

from __future__ import annotations

import copy
import math

import torch
from torch.nn import functional

from medssl.methods import base
from medssl.models import heads
from medssl.types import Losses


class BYOL(base.Method):
    """2 - 2 cos of a prediction and the other view's target, both ways; the target is a moving average."""

    def __init__(self, encoder, projector, predictor, momentum, steps):
        super().__init__()
        self.projector, self.predictor = projector, predictor
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(projector).requires_grad_(False)
        self.momentum, self.steps = momentum, steps

    def project(self, features):
        return self.projector(heads.pool(features[-1]))

    def predict(self, z):
        return self.predictor(z)

    def forward(self, views, encode):
        p = [self.predict(self.project(encode(v))) for v in (0, 1)]
        with torch.no_grad():
            z = [self.target_projector(heads.pool(self.target_encoder(x)[-1])) for x in views.x]
        loss = (self.distance(p[0], z[1]) + self.distance(p[1], z[0])) / 2
        self.diagnostics = base.collapse_metrics(p[0])
        return Losses({"discrimination": loss}, {})

    def distance(self, p, z):
        return 2 - 2 * functional.cosine_similarity(p, z).mean()

    def pairs(self, encoder):
        targets = [*self.target_encoder.parameters(), *self.target_projector.parameters()]
        return zip(targets, [*encoder.parameters(), *self.projector.parameters()], strict=True)

    @torch.no_grad()
    def begin(self, encoder):
        for target, online in self.pairs(encoder):
            target.copy_(online)

    @torch.no_grad()
    def after_step(self, encoder, step):
        momentum = 1 - (1 - self.momentum) * (math.cos(math.pi * step / self.steps) + 1) / 2
        for target, online in self.pairs(encoder):
            target.lerp_(online, 1 - momentum)


def made(kind, encoder, steps, momentum=0.996, hidden=64, dim=32):
    """A method of this class on `encoder`."""
    projector = heads.projection(base.width(encoder), hidden, dim, norm="batch")
    return kind(encoder, projector, heads.projection(dim, hidden, dim, norm="batch"), momentum, steps)


def build(*, encoder, steps: int, momentum: float = 0.996, hidden: int = 64, dim: int = 32) -> BYOL:
    """BYOL on `encoder`; the momentum rises from `momentum` to 1 over the `steps` of the run."""
    return made(BYOL, encoder, steps, momentum, hidden, dim)
