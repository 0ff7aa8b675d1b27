"""Channels innermost: where it is done, and where torch would write outside its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from medssl.models import layout
from medssl.models.encoder import tiny

TRAINED = """
import torch
from medssl.models import layout
from medssl.models.encoder import tiny

torch.manual_seed(0)
encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8), norm="group")
layout.channels_last(encoder, 2)
for _ in range(100):
    sum(level.square().sum() for level in encoder(torch.randn(2, 1, 16, 16, requires_grad=True))).backward()
print("alive")
"""


def innermost(module: nn.Module) -> bool:
    return all(
        layer.weight.is_contiguous(memory_format=torch.channels_last)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    )


def test_wide_networks_have_channels_innermost() -> None:
    encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(16, 32))
    assert not innermost(encoder)
    layout.channels_last(encoder, 2)
    assert innermost(encoder)


@pytest.mark.parametrize(("inputs", "kernel", "stride", "safe"), [(4, 1, 2, False), (8, 1, 2, True), (4, 1, 1, True)])
def test_a_strided_convolution_of_one_pixel_and_few_channels_keeps_its_network_as_it_is(
    inputs: int, kernel: int, stride: int, safe: bool
) -> None:
    network = nn.Sequential(nn.Conv2d(2, inputs, 3), nn.Conv2d(inputs, 16, kernel, stride))
    layout.channels_last(network, 2)
    assert innermost(network) is safe


def test_the_narrowest_network_trains_on() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, timeout=600)
    assert done.stdout == "alive\n", done.stderr
