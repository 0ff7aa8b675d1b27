"""Shared by MoCo and AdCo: key encoder, pairing of views, masking of false negatives, size of the memory."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import losses, ranks
from medssl.models import heads, norm
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medssl.types import Features, Views

Exclude = Literal["patient", "sample", "none"]

FEW = 0.9  # largest momentum for a few steps: at 0.999 a key encoder would hardly leave its initial weights
LARGEST = 65536  # the published size of both MoCo's queue and AdCo's bank


class Pair(NamedTuple):
    """A query view, its key view, and the weight of their loss."""

    query: int
    key: int
    weight: float


class Keys(NamedTuple):
    """Keys of the global batch in rank order, with their owners."""

    k: Tensor  # (W*B,D) unit vectors
    sample: Tensor  # (W*B,)
    patient: Tensor  # (W*B,)

    def own(self, batch: int) -> Tensor:
        """The keys (B,D) of this rank's samples."""
        return self.k[ranks.rank() * batch :][:batch]


class EMAEncoder(nn.Module):
    """Moving average of encoder and head, without gradient and without decoder (He et al. 2020, eq. 2).

    Only parameters are averaged; batch-norm statistics come from its own forwards. If the encoder has batch norm and
    there are several ranks, samples are shuffled between ranks first, so that a key and its query do not share batch
    statistics (He et al. 2020, section 3.3).
    """

    rounds: Tensor

    def __init__(self, encoder: nn.Module, head: nn.Module, momentum: float, shuffle_bn: bool, seed: int) -> None:
        super().__init__()
        self.encoder, self.head = copy.deepcopy(encoder), copy.deepcopy(head)
        self.requires_grad_(False)
        self.momentum, self.seed = momentum, seed
        self.shuffle = shuffle_bn and any(_local_batch_norm(m) for m in encoder.modules())
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, x_BC: Tensor, views: Views) -> Keys:
        """Key view (B,C,*S) of this rank -> keys of all ranks."""
        owners = ranks.gather(views.sample), ranks.gather(views.patient)
        if not (self.shuffle and self.training and ranks.world() > 1):
            return Keys(ranks.gather(self._embed(x_BC)), *owners)
        order = shuffled(ranks.world() * len(x_BC), self.seed, int(self.rounds)).to(x_BC.device)
        self.rounds += 1
        mine = order[ranks.rank() * len(x_BC) :][: len(x_BC)]
        k = ranks.gather(self._embed(ranks.gather(x_BC)[mine]))
        return Keys(k[torch.argsort(order)], *owners)

    @torch.no_grad()
    def ema_update(self, encoder: nn.Module, head: nn.Module) -> None:
        """theta_k <- m theta_k + (1 - m) theta_q."""
        for key, query in self._pairs(encoder, head):
            key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def copy_from(self, encoder: nn.Module, head: nn.Module) -> None:
        """theta_k <- theta_q."""
        for key, query in self._pairs(encoder, head):
            key.copy_(query)

    def _embed(self, x_BC: Tensor) -> Tensor:
        return embed(self.head, self.encoder(x_BC))

    def _pairs(self, encoder: nn.Module, head: nn.Module) -> list[tuple[Tensor, Tensor]]:
        keys = [*self.encoder.parameters(), *self.head.parameters()]
        return list(zip(keys, [*encoder.parameters(), *head.parameters()], strict=True))


def embed(head: nn.Module, features: Features) -> Tensor:
    """Pooled deepest features through `head`, as unit vectors (B,D)."""
    return functional.normalize(losses.at_least_float32(head(heads.pool(features[-1]))), dim=1)


def shuffled(count: int, seed: int, round_: int) -> Tensor:
    """A permutation (count,), the same on every rank, that depends only on the arguments."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + round_))


def gaussian(rows: int, columns: int, seed: int) -> Tensor:
    """Independent normal entries (rows,columns), the same on every rank."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def pairs(count: int, symmetric: bool) -> list[Pair]:
    """Pairs of views: (0,1); symmetric: both directions, halved; more than 2 views: 1, 2, ... against key 0, summed.

    Source: AdCo's release (Hu et al. 2021), single, symmetric and multi-crop forms. Raises InputError.
    """
    if count < 2:
        raise InputError(
            f"a contrastive method compares 2 views or more, but views.count is {count}: set views.count=2"
        )
    if count > 2 and symmetric:
        raise InputError(
            f"symmetric=true takes 2 views, but views.count is {count}: set views.count=2 or method.symmetric=false"
        )
    if count > 2:
        return [Pair(view, 0, 1.0) for view in range(1, count)]
    return [Pair(0, 1, 0.5), Pair(1, 0, 0.5)] if symmetric else [Pair(0, 1, 1.0)]


def same_owner(views: Views, sample_M: Tensor, patient_M: Tensor, exclude: Exclude) -> Tensor:
    """(B,M) true where a key is of the query's own sample or, by default, patient, and so is not a negative."""
    mask = views.sample[:, None] == sample_M
    if exclude == "none":
        return torch.zeros_like(mask)
    return mask | (views.patient[:, None] == patient_M) if exclude == "patient" else mask


def register_owners(module: nn.Module, rows: int) -> None:
    """Buffers for a queue of keys: whose key each row is (-1: nobody's), and which row is the oldest; see `enqueue`."""
    for name in ("sample", "patient"):
        module.register_buffer(name, torch.full((rows,), -1))
    module.register_buffer("pointer", torch.zeros((), dtype=torch.int64))


def enqueue(rows_KD: Tensor, sample_K: Tensor, patient_K: Tensor, pointer: Tensor, fresh: Keys) -> None:
    """Write keys and their owners over the oldest ones, in place, and move `pointer` () to the row that is oldest now.

    Of more keys than rows the last are kept.
    """
    size, count = len(rows_KD), len(fresh.k)
    latest = torch.arange(max(0, count - size), count, device=rows_KD.device)
    rows = (pointer + latest) % size
    rows_KD[rows] = fresh.k[latest].to(rows_KD)
    sample_K[rows] = fresh.sample[latest]
    patient_K[rows] = fresh.patient[latest]
    pointer.add_(count).remainder_(size)


def largest_memory(samples: int | None) -> int:
    """The largest power of two that is neither above the number of training samples nor above the published 65536.

    One pass over the data must fill the memory: a larger one would hold stale copies of the same samples.
    """
    return LARGEST if samples is None else min(LARGEST, 1 << (max(samples, 1).bit_length() - 1))


def check_memory(size: int, samples: int | None, key: str, way_out: str = "") -> None:
    """Raises InputError unless one pass over `samples` fills `size` negatives; `key` names them in the recipe."""
    if size < 1:
        raise InputError(f"{key} is {size}: give 1 or more, or auto")
    if samples is not None and size > samples:
        raise InputError(f"{key} is {size} but {samples} samples fill {samples} at most: set {key}={samples}{way_out}")


def check_temperatures(**temperatures: float) -> None:
    """Raises InputError unless all are above 0 and finite."""
    for name, value in temperatures.items():
        if not 0 < value < math.inf:
            raise InputError(f"method.{name} is {value}: give a number above 0")


def check_momentum(momentum: float) -> None:
    """Raises InputError unless the momentum is between 0 (the key encoder is the encoder) and 1 (it never moves)."""
    if not 0 <= momentum <= 1:
        raise InputError(
            f"method.momentum is {momentum}: give a number from 0 to 1 (0.999 as published; 1 never moves)"
        )


def overfit(settings: Mapping[str, Any], views: int) -> dict[str, Any]:
    """Settings with which a few samples, whose views stay the same, can be memorised in a hundred steps.

    Symmetric: without it the encoder would learn view 0 as the query only and never view 1, since in the check, unlike
    in a run, the views do not change roles.
    """
    momentum = min(settings["momentum"], FEW)
    return {**settings, "momentum": momentum, "symmetric": settings["symmetric"] or views == 2}


def _local_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, norm.SyncBatchNorm)
