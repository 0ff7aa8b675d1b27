"""Heads on an encoder or decoder: projection, restoration, segmentation, classification."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medssl.models import norm as norms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.types import Features


def pool(x_BC: Tensor) -> Tensor:
    """Global average pooling (B,C,*S) -> (B,C)."""
    return x_BC.flatten(2).mean(-1)


def projection(
    inputs: int,
    hidden: int,
    outputs: int,
    layers: int = 2,
    norm: norms.NormKind | None = None,
    last_norm: bool = False,
    last_affine: bool = True,
) -> nn.Sequential:
    """An MLP (B,inputs) -> (B,outputs) with norm and ReLU between its linear layers.

    The defaults are MoCo-v2's head (Chen et al. 2020). A linear layer before a norm has no bias.

    Args:
        inputs, hidden, outputs: widths.
        layers: number of linear layers.
        norm: kind of norm, or None.
        last_norm: whether the MLP ends in a norm, as SimSiam's projector does (Chen and He 2021, section 3).
        last_affine: whether that last norm has scale and shift.

    >>> [type(layer).__name__ for layer in projection(128, 64, 32)]
    ['Linear', 'ReLU', 'Linear']
    """
    widths = [inputs, *[hidden] * (layers - 1), outputs]
    made: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        last = i == layers - 1
        normed = norm is not None and (last_norm or not last)
        made.append(nn.Linear(before, after, bias=not normed))
        if norm is not None and normed:
            made.append(norms.build(norm, 1, after, affine=last_affine or not last))
        if not last:
            made.append(nn.ReLU(inplace=True))
    return nn.Sequential(*made)


HeadNorm = Literal["none", "batch"]


def contrastive(inputs: int, hidden: int, outputs: int, norm: HeadNorm) -> nn.Sequential:
    """MoCo-v2's head, with `norm` "batch" also with a batch norm before the ReLU (as in SimCLR and MoCo-v3).

    The batch norm spans all ranks. An encoder with group or instance norm needs it: these norms make the mean of each
    feature map, the only input of the head, nearly the same for all images, and the embeddings would collapse.

    >>> [type(layer).__name__ for layer in contrastive(128, 64, 32, "batch")]
    ['Linear', 'SyncBatchNorm', 'ReLU', 'Linear']
    """
    return projection(inputs, hidden, outputs, norm="sync_batch" if norm == "batch" else None)


class RestorationHead(nn.Sequential):
    """Convolution and sigmoid: decoder output (B,inputs,*S) -> images (B,outputs,*S) in (0,1).

    Weights are Xavier-uniform, as in DiRA's published code.

    Args:
        spatial_dims: 2 or 3.
        inputs: channels of the decoder's output.
        outputs: channels of the images.
        kernel: 1 works as well after a decoder with `final: shuffle`, and halves the time of a CPU step in 3D.

    >>> RestorationHead(2, inputs=16, outputs=1)(torch.zeros(1, 16, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, kernel: Literal[1, 3] = 3) -> None:
        conv = Conv[Conv.CONV, spatial_dims](inputs, outputs, kernel, padding=kernel // 2)
        nn.init.xavier_uniform_(conv.weight)
        nn.init.zeros_(conv.bias)
        super().__init__(conv, nn.Sigmoid())


class SegmentationHead(nn.Sequential):
    """Convolution of kernel 1: decoder output (B,inputs,*S) -> logits (B,classes,*S).

    Args:
        spatial_dims: 2 or 3.
        inputs: channels of the decoder's output.
        classes: number of classes, background included.

    >>> SegmentationHead(2, inputs=16, classes=3)(torch.zeros(1, 16, 32, 32)).shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(self, spatial_dims: int, inputs: int, classes: int) -> None:
        super().__init__(Conv[Conv.CONV, spatial_dims](inputs, classes, 1))


class ClassificationHead(nn.Module):
    """Global average pooling and one linear layer, weights from N(0, 0.01): features -> logits (B,classes).

    Self-supervised features are spread over the levels: a linear probe on all of them beats one on the deepest.

    Args:
        channels: of each level of the encoder.
        classes: number of classes.
        levels: "deepest" or "all": the levels whose pooled features are used.

    >>> features = (torch.zeros(2, 8, 16, 16), torch.zeros(2, 16, 8, 8))
    >>> ClassificationHead((8, 16), classes=3, levels="all")(features).shape
    torch.Size([2, 3])
    """

    def __init__(self, channels: Sequence[int], classes: int, levels: Literal["deepest", "all"] = "deepest") -> None:
        super().__init__()
        self.chosen = slice(None) if levels == "all" else slice(-1, None)
        self.linear = nn.Linear(sum(channels[self.chosen]), classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Features) -> Tensor:
        """Features (B,C_i,*S_i), fine to coarse -> (B,classes)."""
        return self.linear(torch.cat([pool(x) for x in features[self.chosen]], 1))
