"""U-Net decoder for any encoder, in 2D and 3D; with its defaults it is DiRA's published 2D decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from monai.networks.layers.factories import Conv
from monai.networks.utils import pixelshuffle
from torch import Tensor, nn
from torch.nn import functional

from medssl.models import norm as norms
from medssl.models.sizes import Stride, per_axis
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.types import Features

Skips = Literal["concat", "add", "none"]


class DecoderBlock(nn.Module):
    """Nearest upsampling to the size of the skip, which is joined; then n times conv3 (no bias), norm, ReLU."""

    def __init__(
        self, spatial_dims: int, inputs: int, skip: int, outputs: int, skips: Skips, convs: int, norm: norms.NormKind
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.added = skips == "add" and skip > 0
        # Added maps must agree in channels; reducing before the upsampling is 2^n times cheaper than after.
        self.reduce = conv(inputs, outputs, 1, bias=False) if self.added and inputs != outputs else nn.Identity()
        self.lateral = conv(skip, outputs, 1, bias=False) if self.added and skip != outputs else nn.Identity()
        first = outputs if self.added else inputs + skip
        self.convs = nn.Sequential(
            *(
                nn.Sequential(
                    conv(first if i == 0 else outputs, outputs, 3, padding=1, bias=False),
                    norms.build(norm, spatial_dims, outputs),
                    nn.ReLU(inplace=True),
                )
                for i in range(convs)
            )
        )

    def forward(self, x: Tensor, skip: Tensor | None, size: Sequence[int]) -> Tensor:
        """(B,inputs,*any) and skip (B,skip,*size) or None -> (B,outputs,*size)."""
        x = functional.interpolate(self.reduce(x), size=tuple(size), mode="nearest")
        if skip is not None:
            x = x + self.lateral(skip) if self.added else torch.cat([x, skip], dim=1)
        return self.convs(x)


class SubVoxel(nn.Module):
    """conv1 and depth-to-space: the counterpart of a space-to-depth stem, with no convolution at full resolution."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.spatial_dims, self.factor = spatial_dims, factor
        self.conv = Conv[Conv.CONV, spatial_dims](inputs, outputs * factor**spatial_dims, 1)

    def forward(self, x: Tensor, skip: None, size: Sequence[int]) -> Tensor:
        """(B,inputs,*size/factor) -> (B,outputs,*size)."""
        x = pixelshuffle(self.conv(x), self.spatial_dims, self.factor)
        if tuple(x.shape[2:]) != tuple(size):
            raise InputError(
                f"final: shuffle gives size {list(x.shape[2:])}, not {list(size)}: use a multiple of {self.factor}"
            )
        return x


class UNetDecoder(nn.Module):
    """Decoder with skips from every level but the deepest, and a last step without skip to full resolution."""

    def __init__(self, blocks: list[nn.Module], out_channels: int, *, joins: bool = True) -> None:
        super().__init__()
        self.joins = joins
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = out_channels
        for module in self.modules():
            if isinstance(module, nn.modules.conv._ConvNd):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Features, size: Sequence[int]) -> Tensor:
        """Features (B,C_i,*S_i), fine to coarse -> (B,out_channels,*size)."""
        x, skips = features[-1], [*reversed(features[:-1]), None]
        for block, skip in zip(self.blocks, skips, strict=False):
            x = block(x, skip if self.joins else None, size if skip is None else skip.shape[2:])
        return x


def auto_widths(channels: Sequence[int], blocks: int) -> list[int]:
    """DiRA's 256, 128, 64, 32, 16, counted from the finest block, but never more than the block's skip has."""
    skips = [*reversed(channels[:-1]), 16]
    return [min(skip, 16 * 2 ** (blocks - 1 - i)) for i, skip in enumerate(skips[:blocks])]


def build(
    *,
    spatial_dims: int,
    channels: tuple[int, ...],
    strides: tuple[Stride, ...],
    widths: Literal["auto"] | list[int] = "auto",
    skips: Skips = "concat",
    convs: int = 2,
    final: Literal["conv", "shuffle"] = "conv",
    norm: norms.NormKind = "batch",
) -> UNetDecoder:
    """The U-Net decoder of DiRA (its release, 2D, restated): five blocks on a ResNet, `widths` one a block.

    skips=none joins no level but the deepest, which then has to hold where things are: no fine level can answer for it.
    An encoder whose finest level is at full resolution needs no last step; else `final` makes it: "conv" is one more
    block without skip, "shuffle" goes from the finest level to voxels by depth-to-space and costs little on a CPU.
    Raises InputError.
    """
    factor = set(per_axis(strides[0], spatial_dims))
    blocks = len(channels) - 1 + (factor != {1})
    shuffled = final == "shuffle" and factor != {1}
    if widths == "auto":
        widths = auto_widths(channels, blocks)
        widths[-1] = 8 if shuffled else widths[-1]  # at full resolution a channel costs more than at the finest level
    if len(widths) != blocks:
        raise InputError(f"decoder widths {widths} are {len(widths)}, the encoder needs {blocks}: give one per block")
    skip_channels = [0] * blocks if skips == "none" else [*reversed(channels[:-1]), 0]
    inputs = [channels[-1], *widths[:-1]]
    made: list[nn.Module] = [
        DecoderBlock(spatial_dims, i, s, o, skips, convs, norm)
        for i, s, o in zip(inputs, skip_channels, widths, strict=False)
    ]
    if shuffled:
        if len(factor) != 1:
            raise InputError(f"final: shuffle needs one stride for all axes, not {strides[0]}: use final: conv")
        made[-1] = SubVoxel(spatial_dims, inputs[-1], widths[-1], factor.pop())
    return UNetDecoder(made, widths[-1], joins=skips != "none")
