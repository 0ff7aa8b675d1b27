"""An encoder as a user would add it: one file. Strided convolutions with group norm."""

from __future__ import annotations

from monai.networks.layers.factories import Conv
from torch import nn

from medssl.models import sizes


class Plain(nn.Module):
    """Two levels, at a half and a quarter of the image's sides."""

    def __init__(self, spatial_dims, in_channels, width):
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.channels, self.strides, self.divisor = (width, 2 * width), (2, 4), 4
        self.levels = nn.ModuleList(
            nn.Sequential(conv(i, o, 3, stride=2, padding=1), nn.GroupNorm(2, o), nn.GELU())
            for i, o in ((in_channels, width), (width, 2 * width))
        )

    def forward(self, x):
        sizes.check(x.shape[2:], self.divisor)
        fine = self.levels[0](x)
        return fine, self.levels[1](fine)


def build(*, spatial_dims: int, in_channels: int, width: int = 8) -> Plain:
    """A plain encoder."""
    return Plain(spatial_dims, in_channels, width)
