"""SimSiam (Chen and He 2021): two views, a predictor and a stopped gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medssl import losses
from medssl.methods import base
from medssl.models import heads
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Features, Views


class SimSiam(base.Method):
    """(D(p1, z2) + D(p2, z1)) / 2 with D the negative cosine, no gradient into z (eq. 4); head norms span all ranks."""

    def __init__(self, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.projector, self.predictor = projector, predictor

    def project(self, features: Features) -> Tensor:
        """Pooled deepest features through the projector."""
        return self.projector(heads.pool(features[-1]))

    def predict(self, z_BD: Tensor) -> Tensor:
        """Apply the predictor MLP."""
        return self.predictor(z_BD)

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """The symmetric loss of the two views."""
        self.check_views(len(views.x))
        z1, z2 = (self.project(encode(v)) for v in (0, 1))
        p1, p2 = self.predict(z1), self.predict(z2)
        loss = (losses.negative_cosine(p1, z2) + losses.negative_cosine(p2, z1)) / 2
        self.diagnostics = base.collapse_metrics(z1)
        return Losses({"discrimination": loss}, {})


def build(*, encoder: nn.Module, batch: int, hidden: int = 2048, dim: int = 2048, bottleneck: int = 512) -> SimSiam:
    """SimSiam on `encoder`; the batch norms of the heads span all ranks.

    Args:
        encoder, batch: supplied by medssl: the encoder and the samples per step.
        hidden: width of the projector.
        dim: length of the embedding.
        bottleneck: width of the predictor's hidden layer.

    Raises InputError for a batch of 1.

    >>> from medssl.models.encoder import tiny
    >>> method = build(encoder=tiny.build(spatial_dims=2, in_channels=1), batch=8, dim=64)
    >>> method.projector[-1].num_features
    64
    """
    if batch < 2:
        raise InputError(f"the heads have batch norm, but train.batch is {batch}: set train.batch=2 or more")
    projector = heads.projection(
        base.width(encoder), hidden, dim, layers=3, norm="sync_batch", last_norm=True, last_affine=False
    )
    return SimSiam(projector, heads.projection(dim, bottleneck, dim, norm="sync_batch"))
