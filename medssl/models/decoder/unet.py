"""U-Net decoder for any encoder, in 2D and 3D. With its default settings it is DiRA's published 2D decoder.

Arguments of `build`:
    spatial_dims, channels, strides: supplied by medssl: of the encoder, per level, fine to coarse.
    widths: channels of each block, coarse to fine; "auto": DiRA's, see `auto_widths`.
    skips: how encoder levels are joined: "concat", "add" (cheaper), or "none": only the deepest level is used,
        which then has to represent position too.
    convs: convolutions per block.
    final: the step from the finest level to full resolution, if it is not there yet: "conv", one more block, or
        "shuffle", a depth-to-space step that costs little on a CPU.
    norm: kind of norm.

>>> decoder = build(spatial_dims=2, channels=(16, 32), strides=(2, 4), norm="group")
>>> decoder((torch.zeros(1, 16, 32, 32), torch.zeros(1, 32, 16, 16)), size=(64, 64)).shape
torch.Size([1, 16, 64, 64])
"""

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
    """Nearest-neighbour upsampling to the size of the skip, joining the skip, then convolution, norm and ReLU.

    Args:
        spatial_dims: 2 or 3.
        inputs, skip, outputs: channels of the input, of the skip (0: none) and of the output.
        skips: how the skip is joined: "concat" or "add"; "none".
        convs: how often convolution (kernel 3, no bias), norm and ReLU are repeated.
        norm: kind of norm.
    """

    def __init__(
        self, spatial_dims: int, inputs: int, skip: int, outputs: int, skips: Skips, convs: int, norm: norms.NormKind
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.added = skips == "add" and skip > 0
        # Maps that are added need equal channels; reducing before the upsampling is 2^n times cheaper than after.
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
    """Convolution of kernel 1 and depth-to-space: upsampling by `factor` without a convolution at full resolution."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.spatial_dims, self.factor = spatial_dims, factor
        self.conv = Conv[Conv.CONV, spatial_dims](inputs, outputs * factor**spatial_dims, 1)

    def forward(self, x: Tensor, skip: None, size: Sequence[int]) -> Tensor:
        """(B,inputs,*size/factor) -> (B,outputs,*size)."""
        x = pixelshuffle(self.conv(x), self.spatial_dims, self.factor)
        if tuple(x.shape[2:]) != tuple(size):
            raise InputError(
                f"final=shuffle gives size {list(x.shape[2:])}, not {list(size)}: use a multiple of {self.factor}"
            )
        return x


class UNetDecoder(nn.Module):
    """Decoder with skips from all levels but the deepest, and a last step to full resolution; see `build`."""

    def __init__(self, blocks: list[nn.Module], widths: Sequence[int], *, joins: bool = True) -> None:
        super().__init__()
        self.joins = joins
        self.blocks = nn.ModuleList(blocks)
        self.widths, self.out_channels = tuple(widths), widths[-1]  # of the map after each block
        for module in self.modules():
            if isinstance(module, nn.modules.conv._ConvNd):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Features, size: Sequence[int]) -> Tensor:
        """Features (B,C_i,*S_i), fine to coarse -> (B,out_channels,*size)."""
        return self.levels(features, size)[-1]

    def levels(self, features: Features, size: Sequence[int], count: int | None = None) -> list[Tensor]:
        """The map after each block, or after the first `count`, coarse to fine; that of the last block has `size`."""
        x, skips, found = features[-1], [*reversed(features[:-1]), None], []
        for block, skip in zip(list(self.blocks)[:count], skips, strict=False):
            x = block(x, skip if self.joins else None, size if skip is None else skip.shape[2:])
            found.append(x)
        return found


def auto_widths(channels: Sequence[int], blocks: int) -> list[int]:
    """DiRA's widths 256, 128, 64, 32, 16, aligned at the finest block, but never more than the block's skip has."""
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
    """A U-Net decoder, with default settings that of DiRA's published code: five blocks on a ResNet.

    Raises InputError for settings that do not fit the encoder.
    """
    factor = set(per_axis(strides[0], spatial_dims))
    blocks = len(channels) - 1 + (factor != {1})
    shuffled = final == "shuffle" and factor != {1}
    if widths == "auto":
        widths = auto_widths(channels, blocks)
        widths[-1] = 8 if shuffled else widths[-1]  # a channel costs most at full resolution
    if len(widths) != blocks:
        raise InputError(
            f"decoder widths {widths} are {len(widths)}, but the decoder has {blocks} blocks: give one per block"
        )
    skip_channels = [0] * blocks if skips == "none" else [*reversed(channels[:-1]), 0]
    inputs = [channels[-1], *widths[:-1]]
    made: list[nn.Module] = [
        DecoderBlock(spatial_dims, i, s, o, skips, convs, norm)
        for i, s, o in zip(inputs, skip_channels, widths, strict=False)
    ]
    if shuffled:
        if len(factor) != 1:
            raise InputError(
                f"decoder.final=shuffle needs the same stride on all axes, not {strides[0]}: use final=conv"
            )
        made[-1] = SubVoxel(spatial_dims, inputs[-1], widths[-1], factor.pop())
    return UNetDecoder(made, widths, joins=skips != "none")
