"""Losses as pure functions of tensors, computed in float32 at least (float64 stays), also under autocast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

RestorationKind = Literal["mse", "l1", "ssim"]
AdversarialKind = Literal["least_squares", "hinge"]

SSIM_SHARE = 0.84  # Zhao et al. 2017, "Loss functions for image restoration with neural networks", section 3.4


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or unchanged if it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def cosines(q_BD: Tensor, positive_BD: Tensor, negatives_MD: Tensor, mask_BM: Tensor | None = None) -> Tensor:
    """Inner products (B,1+M) of unit vectors: column 0 q_i·k_i, then q_i·n_j; -inf where the mask is true."""
    with torch.autocast(q_BD.device.type, enabled=False):
        q, k, n = at_least_float32(q_BD), at_least_float32(positive_BD), at_least_float32(negatives_MD)
        negative = q @ n.T
        if mask_BM is not None:
            negative = negative.masked_fill(mask_BM, -torch.inf)
        return torch.cat([(q * k).sum(1, keepdim=True), negative], 1)


def info_nce_from_cosines(cosines_BM: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of picking column 0: mean_i [log sum_j exp(c_ij/t) - c_i0/t]."""
    scaled = at_least_float32(cosines_BM) / temperature
    return (torch.logsumexp(scaled, 1) - scaled[:, 0]).mean()


def info_nce(
    q_BD: Tensor, positive_BD: Tensor, negatives_MD: Tensor, temperature: float, mask_BM: Tensor | None = None
) -> Tensor:
    """InfoNCE: -mean_i log [exp(q_i·k_i/t) / (exp(q_i·k_i/t) + sum_j exp(q_i·n_j/t))], over the unmasked j.

    Rows are unit vectors; `mask` is true where n_j is not a negative of q_i. Source: van den Oord et al. 2018, eq. 4.
    """
    return info_nce_from_cosines(cosines(q_BD, positive_BD, negatives_MD, mask_BM), temperature)


def cross_correlation(a_BD: Tensor, b_BD: Tensor) -> Tensor:
    """C (D,D) = a'ᵀ b' / B, where ' standardises each column over the batch with the population deviation."""
    with torch.autocast(a_BD.device.type, enabled=False):
        return _standardise(at_least_float32(a_BD)).T @ _standardise(at_least_float32(b_BD)) / len(a_BD)


def barlow_twins(a_BD: Tensor, b_BD: Tensor, off_diagonal: float = 0.0051) -> Tensor:
    """sum_i (C_ii - 1)² + off_diagonal · sum_{i≠j} C_ij² of the cross-correlation C (Zbontar et al. 2021, eq. 1)."""
    correlation = cross_correlation(a_BD, b_BD)
    diagonal = correlation.diagonal()
    return (diagonal - 1).square().sum() + off_diagonal * (correlation.square().sum() - diagonal.square().sum())


def negative_cosine(p_BD: Tensor, z_BD: Tensor) -> Tensor:
    """-mean_i p_i·z_i / (|p_i| |z_i|), no gradient into z (Chen and He 2021, eq. 1 and 3)."""
    return -functional.cosine_similarity(at_least_float32(p_BD), at_least_float32(z_BD.detach()), dim=1).mean()


def discriminator(real: Tensor, fake: Tensor, kind: AdversarialKind = "least_squares") -> Tensor:
    """Loss of the discriminator, from its outputs on targets (real) and reconstructions (fake), of equal shape.

    least_squares: (mean (real - 1)² + mean fake²) / 2 (Mao et al. 2017, eq. 2);
    hinge: mean max(0, 1 - real) + mean max(0, 1 + fake) (Lim and Ye 2017).
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator(fake: Tensor, kind: AdversarialKind = "least_squares") -> Tensor:
    """Loss of the generator. least_squares: mean (fake - 1)²; hinge: -mean fake."""
    fake = at_least_float32(fake)
    return -fake.mean() if kind == "hinge" else (fake - 1).square().mean()


def restoration(
    x_BC: Tensor, target_BC: Tensor, kind: RestorationKind = "mse", mask_B1: Tensor | None = None
) -> Tensor:
    """Distance of a reconstruction (B,C,*S) to its target, averaged over all voxels, or over those of the mask.

    mse: (x - t)²; l1: |x - t|; ssim: 0.84 (1 - SSIM) + 0.16 |x - t| (Zhao et al. 2017, eq. 13, one scale).
    With a mask the mean is taken over the masked voxels of each sample (0 if there are none), then over samples, so
    that a sample's loss does not depend on the rest of the batch.
    """
    error = _error(at_least_float32(x_BC), at_least_float32(target_BC), kind)
    if mask_B1 is None:
        return error.mean()
    weight = mask_B1.to(error).expand_as(error).flatten(1)
    return ((error.flatten(1) * weight).sum(1) / weight.sum(1).clamp_min(1)).mean()


def ssim(x_BC: Tensor, y_BC: Tensor, window: int = 7) -> Tensor:
    """Structural similarity (B,C,*S) of images in [0,1], uniform window, cut at borders (Wang et al. 2004, eq. 13)."""
    pool = functional.avg_pool3d if x_BC.ndim == 5 else functional.avg_pool2d
    sides = [min(window, n - 1 + n % 2) for n in x_BC.shape[2:]]  # odd, and no longer than a short axis
    half = [side // 2 for side in sides]

    def local(z: Tensor) -> Tensor:
        return pool(z, sides, stride=1, padding=half, count_include_pad=False)

    mx, my = local(x_BC), local(y_BC)
    vx, vy, cov = local(x_BC * x_BC) - mx * mx, local(y_BC * y_BC) - my * my, local(x_BC * y_BC) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def _error(x: Tensor, target: Tensor, kind: RestorationKind) -> Tensor:
    if kind == "mse":
        return (x - target).square()
    if kind == "l1":
        return (x - target).abs()
    return SSIM_SHARE * (1 - ssim(x, target)) + (1 - SSIM_SHARE) * (x - target).abs()


def _standardise(z_BD: Tensor) -> Tensor:
    centred = z_BD - z_BD.mean(0)
    variance = centred.square().mean(0)
    return centred * variance.clamp_min(1e-12).rsqrt()  # a constant column stays 0 instead of NaN


def soft_dice_loss(
    probability_BK: Tensor, truth_BK: Tensor, smooth: float = 1.0, pooled: Literal["batch", "sample"] = "batch"
) -> Tensor:
    """1 - mean over foreground classes of `(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)` (Milletari 2016, eq. 3).

    Inputs (B,K,*S), class 0 is background and left out; sums run over the batch too if `pooled` is "batch".
    """
    axes = [0, *range(2, probability_BK.ndim)] if pooled == "batch" else list(range(2, probability_BK.ndim))
    probability, truth = probability_BK[:, 1:], truth_BK[:, 1:]
    overlap = (probability * truth).sum(axes)
    return 1 - ((2 * overlap + smooth) / (probability.sum(axes) + truth.sum(axes) + smooth)).mean()


def labels_at(label: Tensor, size: Sequence[int]) -> Tensor:
    """Labels (B,*S) at another size, nearest voxel."""
    if tuple(label.shape[1:]) == tuple(size):
        return label
    return functional.interpolate(label[:, None].double(), tuple(size), mode="nearest-exact")[:, 0].long()
