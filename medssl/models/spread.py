"""How an encoder uses its levels: the rank of their features, what differs between images, the size of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medssl import ranks

if TYPE_CHECKING:
    from medssl.types import Features


@torch.no_grad()
def effective_rank(z_BD: Tensor) -> Tensor:
    """The exponential of the entropy of the normalised singular values, from 1 to min(B,D) (Roy and Vetterli 2007)."""
    # The training loop stops at features that are not finite, and names the samples. Not roots of eigenvalues: of
    # centred features one is 0, and the root of its rounding would be a singular value of its own.
    singular = torch.linalg.svdvals(z_BD.nan_to_num(0.0, 0.0, 0.0))
    return torch.special.entr(singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)).sum().exp()


@torch.no_grad()
def of_levels(encoder: nn.Module, features: Features) -> dict[str, Tensor]:
    """Scalars of the batch of all ranks, for each level (B,C,*S), 0 the finest, and of the encoder.

    rank_levelI: effective rank of the pooled features, less their mean over the batch. between_levelI: the share of the
    variance over images and positions that lies between the images' means, 0 where all images look alike.
    weight_norm: the norm of the encoder's filters and matrices.
    """
    found: dict[str, Tensor] = {}
    for level, x in enumerate(features):
        x_BCV = (x if x.dtype == torch.float64 else x.float()).flatten(2)
        mean_BC, square_C = ranks.gather(x_BCV.mean(2)), ranks.gather(x_BCV.square().mean((0, 2))[None]).mean(0)
        centred = mean_BC - mean_BC.mean(0)
        total = (square_C - mean_BC.mean(0).square()).sum()
        found[f"rank_level{level}"] = effective_rank(centred)
        found[f"between_level{level}"] = centred.square().mean(0).sum() / total.clamp_min(torch.finfo(total.dtype).tiny)
    weights = [weight.detach().float().norm() for weight in encoder.parameters() if weight.ndim > 1]
    return {**found, "weight_norm": torch.stack(weights).norm()} if weights else found
