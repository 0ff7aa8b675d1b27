"""Dense prediction of images of any size: overlapping windows, Gaussian weights, averaging over mirror images."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIGMA = 0.125  # of the Gaussian, as a share of the window (nnU-Net)
ON_DEVICE = 2**24  # voxels; a larger image is put together in main memory, where logits of many classes find room


def logits(
    model: Callable[[Tensor], Tensor],
    volume_BC: Tensor,
    window: Sequence[int],
    overlap: float = 0.5,
    mirrors: Sequence[int] = (),
) -> Tensor:
    """Logits (B,K,*S) of an image: those of its windows, weighted by a Gaussian around each window's middle.

    Args:
        model: from windows (B,C,*window) to logits.
        volume_BC: an image smaller than the window is padded with 0, as in training.
        window: the size that the network was trained with.
        overlap: share of a window that the next one covers.
        mirrors: spatial axes; logits are averaged over the mirror images along each set of them (2^n passes).

    The logits are on the device of the image, or on the CPU where the image has more than `ON_DEVICE` voxels: what a
    device has to hold then does not depend on the number of classes.
    """
    large = volume_BC[0, 0].numel() > ON_DEVICE
    found = sliding_window_inference(
        volume_BC,
        tuple(window),
        sw_batch_size=2,
        predictor=mirrored(model, mirrors),
        overlap=overlap,
        mode="gaussian",
        sigma_scale=SIGMA,
        sw_device=volume_BC.device,
        device=torch.device("cpu") if large else volume_BC.device,
    )
    assert isinstance(found, Tensor)
    return found.float()


def mirrored(model: Callable[[Tensor], Tensor], axes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The mean over mirror images along every set of spatial `axes`, each turned back."""
    sets = [chosen for size in range(len(axes) + 1) for chosen in combinations([2 + axis for axis in axes], size)]

    def predict(x_BC: Tensor) -> Tensor:
        return torch.stack([model(x_BC.flip(each)).flip(each) for each in sets]).mean(0)

    return predict if axes else model
