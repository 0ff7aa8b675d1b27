"""conv3 and ReLU at full resolution."""

from __future__ import annotations

from torch import nn

from plain.encoder import CONV


class Decoder(nn.Module):
    out_channels = 4

    def __init__(self, spatial_dims, channels):
        super().__init__()
        self.conv = CONV[spatial_dims](channels[-1], 4, 3, padding=1)

    def forward(self, features, size):
        return self.conv(features[-1]).relu()


def build(*, spatial_dims, channels, strides):
    return Decoder(spatial_dims, channels)
