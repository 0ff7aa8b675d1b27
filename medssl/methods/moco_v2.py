"""MoCo-v2 (Chen et al. 2020): a queue of keys from a momentum encoder.

Arguments of `build`:
    encoder, samples: supplied by medssl: the encoder and the number of training samples.
    queue: number of keys in the queue; "auto": the largest power of two that is not above `samples` or 65536.
    temperature: of the loss.
    momentum: of the key encoder: the part of its weights that it keeps in a step.
    hidden: width of the head.
    dim: length of the embedding.
    head_norm: "batch" puts a batch norm into the head, which encoders without batch norm need; "none".
    symmetric: whether each view is query and key in turn.
    exclude: which keys are no negatives of a query: those of the same "patient" or "sample"; "none".
    shuffle_bn: whether keys are shuffled over ranks, for encoders with batch norm.
    seed: of the initial queue and the shuffling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import losses
from medssl.methods import base, keys
from medssl.models import heads
from medssl.types import Losses

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Features, Views


class MoCoV2(base.Method):
    """InfoNCE of a query against its own key and a queue of K keys, oldest replaced first, with their sample ids."""

    queue: Tensor  # (K,D)
    sample: Tensor  # (K,)
    patient: Tensor  # (K,)
    pointer: Tensor  # () row of the oldest key

    def __init__(
        self,
        head: nn.Module,
        key_encoder: keys.EMAEncoder,
        queue_KD: Tensor,
        temperature: float,
        symmetric: bool,
        exclude: keys.Exclude,
    ) -> None:
        super().__init__()
        self.head, self.key_encoder = head, key_encoder
        self.temperature, self.symmetric, self.exclude = temperature, symmetric, exclude
        self.register_buffer("queue", queue_KD)
        keys.register_owners(self, len(queue_KD))
        self._fresh: list[keys.Keys] = []

    def project(self, features: Features) -> Tensor:
        """Pooled deepest features through the head, as unit vectors."""
        return keys.embed(self.head, features)

    def check_views(self, count: int) -> None:
        """Two views or more; symmetric: two. Raises InputError."""
        keys.pairs(count, self.symmetric)

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """InfoNCE summed over the pairs of views; see `keys.pairs`."""
        pairs = keys.pairs(len(views.x), self.symmetric)
        k = {v: self.key_encoder(views.x[v], views) for v in sorted({p.key for p in pairs})}
        mask = keys.same_owner(views, self.sample, self.patient, self.exclude)
        loss = torch.zeros((), device=views.x[0].device)
        for pair in pairs:
            q = self.project(encode(pair.query))
            cosines = losses.cosines(q, k[pair.key].own(len(q)), self.queue, mask)
            loss = loss + pair.weight * losses.info_nce_from_cosines(cosines, self.temperature)
        weight = sum(pair.weight for pair in pairs)
        self.diagnostics = base.contrastive_metrics(cosines, weight) | base.collapse_metrics(q)
        self.diagnostics["max_cosine"] = base.largest(cosines[:, 1:])
        if self.training:
            self._fresh.append(k[pairs[0].key])
        return Losses({"discrimination": loss}, {})

    def begin(self, encoder: nn.Module) -> None:
        """theta_k <- theta_q."""
        self.key_encoder.copy_from(encoder, self.head)

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """Update the key encoder and put the step's keys into the queue."""
        self.key_encoder.ema_update(encoder, self.head)
        for fresh in self._fresh:
            keys.enqueue(self.queue, self.sample, self.patient, self.pointer, fresh)
        self._fresh.clear()


def build(
    *,
    encoder: nn.Module,
    samples: int | None = None,
    queue: int | Literal["auto"] = "auto",
    temperature: float = 0.2,
    momentum: float = 0.999,
    hidden: int = 2048,
    dim: int = 128,
    head_norm: heads.HeadNorm = "none",
    symmetric: bool = False,
    exclude: keys.Exclude = "patient",
    shuffle_bn: bool = True,
    seed: int = 0,
) -> MoCoV2:
    """MoCo-v2 on `encoder`, with published defaults.

    Raises InputError for a queue longer than the data, which would hold several keys of one sample, the query's too.

    >>> from medssl.models.encoder import tiny
    >>> build(encoder=tiny.build(spatial_dims=2, in_channels=1), samples=1000).queue.shape
    torch.Size([512, 128])
    """
    keys.check_temperatures(temperature=temperature)
    keys.check_momentum(momentum)
    size = keys.largest_memory(samples) if queue == "auto" else queue
    keys.check_memory(size, samples, "method.queue")
    head = heads.contrastive(base.width(encoder), hidden, dim, head_norm)
    key_encoder = keys.EMAEncoder(encoder, head, momentum, shuffle_bn, seed)
    queue_KD = functional.normalize(keys.gaussian(size, dim, seed), dim=1)
    return MoCoV2(head, key_encoder, queue_KD, temperature, symmetric, exclude)


overfit = keys.overfit
