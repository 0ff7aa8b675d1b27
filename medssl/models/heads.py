"""What sits on an encoder or decoder: projections, restoration, segmentation, classification."""

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
    """MLP (B,inputs) -> (B,outputs) of `layers` Linear, with norm and ReLU between them.

    Defaults: MoCo-v2 (2048-2048-ReLU-128, no norm; Chen 2020). A Linear before a norm has no bias. `last_norm` ends in
    a norm, without scale and shift unless `last_affine` (SimSiam's projector; Chen and He 2021, section 3).
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
    """MoCo-v2's head; `batch` puts a batch norm, synchronised over ranks, before its ReLU as SimCLR and MoCo-v3 do.

    On an encoder with group or instance norm it is needed: such a norm makes the mean of each feature map, which is all
    that the head sees, nearly the same for all images, and without a batch norm the embedding collapses to one point.
    """
    return projection(inputs, hidden, outputs, norm="sync_batch" if norm == "batch" else None)


class RestorationHead(nn.Sequential):
    """conv3 and sigmoid, (B,inputs,*S) -> (B,outputs,*S) in (0,1); Xavier-uniform as in DiRA's release.

    After a decoder with `final: shuffle`, `kernel` 1 restores as well and spares half of a CPU step in 3D.
    """

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, kernel: Literal[1, 3] = 3) -> None:
        conv = Conv[Conv.CONV, spatial_dims](inputs, outputs, kernel, padding=kernel // 2)
        nn.init.xavier_uniform_(conv.weight)
        nn.init.zeros_(conv.bias)
        super().__init__(conv, nn.Sigmoid())


class SegmentationHead(nn.Sequential):
    """conv1, (B,inputs,*S) -> logits (B,classes,*S)."""

    def __init__(self, spatial_dims: int, inputs: int, classes: int) -> None:
        super().__init__(Conv[Conv.CONV, spatial_dims](inputs, classes, 1))


class ClassificationHead(nn.Module):
    """Global average pooling and one Linear drawn from N(0, 0.01), on the deepest level or on all; logits (B,classes).

    What self-supervision learned is spread over the levels: a linear probe of all of them beats one of the deepest.
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
