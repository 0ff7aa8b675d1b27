"""Barlow Twins (Zbontar et al. 2021): drives the cross-correlation of two views' embeddings to the identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medssl import losses, ranks
from medssl.methods import base
from medssl.models import heads
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Features, Views


class BarlowTwins(base.Method):
    """Standardises and correlates over the global batch, so that the number of ranks does not change the loss."""

    def __init__(self, projector: nn.Module, off_diagonal: float) -> None:
        super().__init__()
        self.projector, self.off_diagonal = projector, off_diagonal

    def project(self, features: Features) -> Tensor:
        """Pooled deepest features through the projector."""
        return self.projector(heads.pool(features[-1]))

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """The loss of the two views, the same on every rank."""
        self.check_views(len(views.x))
        a, b = (self.project(encode(v)) for v in (0, 1))
        loss = losses.barlow_twins(ranks.gather_grad(a), ranks.gather_grad(b), self.off_diagonal)
        self.diagnostics = base.collapse_metrics(a)
        return Losses({"discrimination": loss}, {})


def build(
    *, encoder: nn.Module, batch: int, hidden: int = 8192, dim: int = 8192, off_diagonal: float = 0.0051
) -> BarlowTwins:
    """Barlow Twins on `encoder`, with published defaults; the batch norms of the head span all ranks.

    Args:
        encoder, batch: supplied by medssl: the encoder and the samples per step.
        hidden: width of the projector.
        dim: length of the embedding.
        off_diagonal: weight of the off-diagonal correlations in the loss.

    Raises InputError for a batch of 1.

    >>> from medssl.models.encoder import tiny
    >>> method = build(encoder=tiny.build(spatial_dims=2, in_channels=1), batch=8, hidden=64, dim=32)
    >>> method.projector[-1].out_features
    32
    """
    if batch < 2:
        raise InputError(
            f"Barlow Twins correlates embeddings over the batch, but train.batch is {batch}: set train.batch=2 or more"
        )
    projector = heads.projection(base.width(encoder), hidden, dim, layers=3, norm="sync_batch")
    return BarlowTwins(projector, off_diagonal)
