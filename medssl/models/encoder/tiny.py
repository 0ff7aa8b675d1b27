"""A small residual network (0.9 M parameters in 3D) that can be trained on one laptop core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.layers.factories import Conv
from monai.networks.utils import pixelunshuffle
from torch import Tensor, nn
from torch.nn import functional

from medssl.models import norm as norms
from medssl.models import sizes
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.types import Features


class ResidualBlock(nn.Module):
    """Residual block: convolution, norm, LeakyReLU, convolution, norm, plus the shortcut, then LeakyReLU.

    The shortcut is a convolution of kernel 1 if the shape changes, else the identity.

    Args:
        spatial_dims: 2 or 3.
        inputs, outputs: channels.
        stride: of the first convolution.
        norm: kind of norm.
    """

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, stride: int, norm: norms.NormKind) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv1 = conv(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norms.build(norm, spatial_dims, outputs)
        self.conv2 = conv(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = norms.build(norm, spatial_dims, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,*S) -> (B,outputs,*ceil(S/stride))."""
        y = functional.leaky_relu(self.norm1(self.conv1(x)), 0.01, inplace=True)
        y = self.norm2(self.conv2(y)) + self.shortcut(x)
        return functional.leaky_relu(y, 0.01, inplace=True)


class TinyEncoder(nn.Module):
    """Space-to-depth by 2, then one residual block per level at strides 2, 4, 8, 16; see `build`."""

    def __init__(self, spatial_dims: int, in_channels: int, channels: tuple[int, ...], norm: norms.NormKind) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.channels = channels
        self.strides = tuple(2 ** (level + 1) for level in range(len(channels)))
        # Only the space-to-depth needs even sizes: strided convolutions round up, and the decoder resizes to its skips.
        self.divisor = (2,) * spatial_dims
        inputs = (in_channels * 2**spatial_dims, *channels[:-1])
        self.levels = nn.ModuleList(
            ResidualBlock(spatial_dims, i, o, 1 if level == 0 else 2, norm)
            for level, (i, o) in enumerate(zip(inputs, channels, strict=True))
        )

    def forward(self, x_BC: Tensor) -> Features:
        """(B,C,*S) -> features at strides 2, 4, 8, 16. Raises InputError for odd sizes."""
        sizes.check(x_BC.shape[2:], self.divisor)
        x = pixelunshuffle(x_BC, self.spatial_dims, 2)
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return tuple(features)


def build(
    *,
    spatial_dims: int,
    in_channels: int,
    channels: tuple[int, ...] = (16, 32, 64, 128),
    norm: norms.NormKind = "group",
) -> TinyEncoder:
    """The small residual encoder.

    Args:
        spatial_dims, in_channels: supplied by medssl: axes and channels of the images.
        channels: of each level, fine to coarse; their number is the number of levels.
        norm: kind of norm.

    Raises InputError without any level.

    >>> import torch
    >>> [tuple(x.shape) for x in build(spatial_dims=2, in_channels=1, channels=(8, 16))(torch.zeros(1, 1, 32, 32))]
    [(1, 8, 16, 16), (1, 16, 8, 8)]
    """
    if not channels or min(channels) < 1:
        raise InputError(
            f"encoder.channels is {list(channels)}: give the channels of each level, 1 or more, finest first"
        )
    return TinyEncoder(spatial_dims, in_channels, channels, norm)
