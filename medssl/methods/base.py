"""What every base method is, and the diagnostics that all of them log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import losses, ranks
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Features, Losses, Views


class Method(nn.Module):
    """A base method: its main loss is "discrimination"; an adversary is parameters with their own loss and optimizer.

    A method of your own is a module with `build`, which gets what it names of `encoder`, `spatial_dims`, `samples` (of
    the training set), `batch` (that one forward sees over all ranks) and `steps` (of the run); its other keyword-only
    arguments are the method's keys in a recipe. The module may have `overfit(settings, views)`, too: the settings by
    which `check=true` lets it learn a few samples by heart. `diagnostics` holds scalars by name, set by each forward.
    `sooner` says what makes an adversary that is delayed start earlier, as the end of an error's sentence.
    """

    sooner = ""

    def __init__(self) -> None:
        super().__init__()
        self.diagnostics: dict[str, Tensor] = {}

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """Losses of one batch; `encode(v)` gives view v's features from the online encoder and runs it once a view."""
        raise NotImplementedError

    def project(self, features: Features) -> Tensor:
        """The embedding (B,D) of a view, from the encoder's features."""
        raise NotImplementedError

    def predict(self, z_BD: Tensor) -> Tensor:
        """What a view's embedding says of that of the other view; itself, unless the method has a predictor."""
        return z_BD

    def check_views(self, count: int) -> None:
        """Raises InputError where the method cannot compare `count` views; two, unless a method says otherwise."""
        if count != 2:
            raise InputError(f"this method compares 2 views, views.count is {count}: set views.count=2")

    def adversaries(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of each adversary, by the name of its loss."""
        return {}

    def delays(self, batch: int) -> dict[str, int]:
        """First step, counted from the method's own start, of delayed adversaries, at `batch` samples per step.

        Ask before the first step: it is counted from what the method holds then.
        """
        return {}

    def begin(self, encoder: nn.Module) -> None:
        """Call once at step 0, after initial weights are loaded, not on resume."""

    def after_step(self, encoder: nn.Module) -> None:
        """Call after every step of the optimizers; a method that names `step` as well gets its number, from 0."""


def width(encoder: nn.Module) -> int:
    """Channels of the encoder's deepest level, from which methods take their embedding."""
    channels: Any = encoder.channels
    return int(channels[-1])


@torch.no_grad()
def collapse_metrics(z_BD: Tensor) -> dict[str, Tensor]:
    """How far embeddings are from collapse: both numbers are of unit vectors, of the batch of all ranks.

    embedding_std: deviation over the batch, averaged over D (0 collapsed, 1/sqrt(D) spread; Chen and He 2021, 4.1);
    effective_rank: exp of the entropy of the normalised singular values (1 collapsed, min(B,D) spread; Roy and
    Vetterli 2007).
    """
    with torch.autocast(z_BD.device.type, enabled=False):
        z = ranks.gather(functional.normalize(losses.at_least_float32(z_BD), dim=1))
        gram = z @ z.T if z.shape[0] <= z.shape[1] else z.T @ z
        # Embeddings that are not finite are for the loop to stop at, with the names of the samples.
        singular = torch.linalg.eigvalsh(gram.nan_to_num()).clamp_min(0).sqrt()
        p = singular / singular.sum()
        return {
            "embedding_std": z.std(0, unbiased=False).mean(),
            "effective_rank": torch.special.entr(p).sum().exp(),
        }


@torch.no_grad()
def contrastive_metrics(cosines_BM: Tensor, weight: float = 1.0) -> dict[str, Tensor]:
    """Top-1 of picking column 0, masked share, loss of a guess.

    `masked` is the share of negatives that are none, being of the query's own patient or too like it. A guess costs the
    log of the number of candidates, those that are masked not counted, for each pair of views; `weight` is the sum of
    the pairs' weights.
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
    """The largest cosine of any rank's query with a negative of the memory, -1 if all are masked."""
    return ranks.gather(cosines_BK.amax()[None]).amax().clamp_min(-1)
