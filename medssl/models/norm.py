"""The norm layers that a recipe can name, and a batch norm that is synchronised over ranks on CPUs too."""

from __future__ import annotations

from contextlib import contextmanager
from math import gcd
from typing import TYPE_CHECKING, Literal

import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn

from medssl import ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

NormKind = Literal["batch", "sync_batch", "instance", "group"]


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the global batch, to which all ranks contribute equally many samples.

    Torch's own works only on CUDA, and DDP on the CPU refuses modules derived from it. Embeddings (B,C) are few and
    often differ by only a thousandth of their mean; they are normalised in float64, on one rank too, since in float32
    their differences would depend on the order in which the mean is summed.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B,C[,*S]) by mean and variance over all ranks; in evaluation mode by the running statistics."""
        embeddings, count = input.ndim == 2, ranks.world() * input.numel() // input.shape[1]
        if not self.training or count == 1 or (ranks.world() == 1 and not embeddings):
            return super().forward(input)
        x = (
            input.double() if embeddings else (input if input.dtype == torch.float64 else input.float())
        )  # moments of half precision would drift
        axes = [0, *range(2, x.ndim)]
        mean = _over_ranks(x.mean(axes))
        centred = x - _per_channel(mean, x)
        variance = _over_ranks(centred.square().mean(axes))
        self._track(mean.detach(), variance.detach(), count)
        x = centred * _per_channel(torch.rsqrt(variance + self.eps), x)
        if self.affine:
            x = x * _per_channel(self.weight, x) + _per_channel(self.bias, x)
        return x.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes (B,C[,*S]), not {list(input.shape)}")

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(
            (variance * count / (count - 1)).to(self.running_var), momentum
        )  # torch keeps the unbiased variance


def _over_ranks(x_C: Tensor) -> Tensor:
    return ranks.gather_grad(x_C[None]).mean(0)


def _per_channel(x_C: Tensor, like: Tensor) -> Tensor:
    return x_C.view(1, -1, *[1] * (like.ndim - 2))


def build(kind: NormKind, spatial_dims: int, channels: int, *, affine: bool = True) -> nn.Module:
    """A norm layer for (B,channels,*S).

    Args:
        kind: "batch", "sync_batch" (over all ranks), "instance" or "group" (at most 32 groups of at least 2 channels).
        spatial_dims: 2 or 3 (1 for embeddings).
        channels: of the input.
        affine: whether it has scale and shift.

    >>> build("group", 3, channels=48).num_groups
    8
    """
    if kind == "sync_batch":
        return SyncBatchNorm(channels, affine=affine)
    if kind == "group":
        return nn.GroupNorm(gcd(64, channels) // 2 or 1, channels, affine=affine)
    layer = Norm[kind, spatial_dims]
    return layer(channels, affine=affine)


def replace_batch_norm(module: nn.Module, kind: NormKind, spatial_dims: int) -> None:
    """Replace every batch norm inside `module` by a norm of `kind`, in place and under the same name."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, build(kind, spatial_dims, child.num_features))
        else:
            replace_batch_norm(child, kind, spatial_dims)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """A context in which batch norms normalise by their batch, as in training, without updating running statistics."""
    norms = [child for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)]
    momenta = [child.momentum for child in norms]
    for child in norms:
        child.momentum = 0.0
    try:
        yield
    finally:
        for child, momentum in zip(norms, momenta, strict=True):
            child.momentum = momentum
