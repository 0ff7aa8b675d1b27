"""The interface of every base method, and the diagnostics that all of them log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import losses, ranks
from medssl.models import spread
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Features, Losses, Views


class Method(nn.Module):
    """A base method: its main loss is "discrimination"; an adversary is parameters with their own loss and optimizer.

    A custom method is a module with `build`, which receives those of `encoder`, `spatial_dims`, `samples` (number of
    training samples), `batch` (samples per forward, over all ranks) and `steps` (of the run) that it names; its other
    keyword-only arguments are the method's keys in a recipe. The module may also have `overfit(settings, views)`, which
    returns the settings for `overfit_check=true`. `diagnostics` holds scalars by name, set by each forward. `sooner`
    completes an error message: how to make a delayed adversary start earlier.
    """

    sooner = ""

    def __init__(self) -> None:
        super().__init__()
        self.diagnostics: dict[str, Tensor] = {}

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """Losses of one batch; `encode(v)` returns the online encoder's features of view v, computed once per view."""
        raise NotImplementedError

    def project(self, features: Features) -> Tensor:
        """The embedding (B,D) of a view, from the encoder's features."""
        raise NotImplementedError

    def predict(self, z_BD: Tensor) -> Tensor:
        """Predict the other view's embedding from this one; the identity unless the method has a predictor."""
        return z_BD

    def check_views(self, count: int) -> None:
        """Raises InputError if the method cannot compare `count` views; 2, unless a method overrides it."""
        if count != 2:
            raise InputError(f"this method compares 2 views, views.count is {count}: set views.count=2")

    def adversaries(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of each adversary, by the name of its loss."""
        return {}

    def delays(self, batch: int) -> dict[str, int]:
        """Delay in steps, counted from the start of the method, of each adversary that starts later than the method.

        `batch` is the number of samples per step. Call before training: the delay depends on how full the memory is.
        """
        return {}

    def begin(self, encoder: nn.Module) -> None:
        """Call once at step 0, after the initial weights are loaded; not when a run is resumed."""

    def after_step(self, encoder: nn.Module) -> None:
        """Call after every optimizer step; a method whose signature has `step` also receives its number, from 0."""


def width(encoder: nn.Module) -> int:
    """Channels of the encoder's deepest level, which methods embed."""
    channels: Any = encoder.channels
    return int(channels[-1])


@torch.no_grad()
def collapse_metrics(z_BD: Tensor) -> dict[str, Tensor]:
    """How far the embeddings are from collapse, computed on unit vectors of the batch of all ranks.

    embedding_std: standard deviation over the batch, averaged over D (0 if collapsed, 1/sqrt(D) if uniform; Chen and
    He 2021, 4.1); effective_rank: exp of the entropy of the normalised singular values (1 if collapsed, at most
    min(B,D); Roy and Vetterli 2007).
    """
    with torch.autocast(z_BD.device.type, enabled=False):
        z = ranks.gather(functional.normalize(losses.at_least_float32(z_BD), dim=1))
        return {"embedding_std": z.std(0, unbiased=False).mean(), "effective_rank": spread.effective_rank(z)}


@torch.no_grad()
def contrastive_metrics(cosines_BM: Tensor, weight: float = 1.0) -> dict[str, Tensor]:
    """Top-1 accuracy of picking column 0, share of masked negatives, and the loss of a random guess.

    `masked` is the share of negatives that are masked, as the query's own patient or as too similar to it. A random
    guess costs the log of the number of unmasked candidates for each pair of views; `weight` is the sum of the pairs'
    weights.
    """
    positive, negative = cosines_BM[:, 0], cosines_BM[:, 1:]
    candidates = cosines_BM.isfinite().sum(1).to(positive)
    return {
        "top1": (positive > negative.amax(1)).to(positive).mean(),
        "masked": 1 - (candidates - 1).mean() / negative.shape[1],
        "chance": weight * candidates.log().mean(),
    }


@torch.no_grad()
def largest(cosines_BK: Tensor) -> Tensor:
    """The largest cosine, over all ranks, of a query with a negative of the memory; -1 if all are masked."""
    return ranks.gather(cosines_BK.amax()[None]).amax().clamp_min(-1)
