from __future__ import annotations

import pytest
import torch

from medssl.models.decoder import unet
from medssl.models.encoder import tiny
from medssl.models.heads import RestorationHead
from medssl.types import InputError


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("skips", ["concat", "add", "none"])
@pytest.mark.parametrize("final", ["conv", "shuffle"])
def test_output_has_full_resolution_also_at_odd_levels(spatial_dims: int, skips: unet.Skips, final: str) -> None:
    encoder = tiny.build(spatial_dims=spatial_dims, in_channels=1)
    decoder = unet.build(
        spatial_dims=spatial_dims, channels=encoder.channels, strides=encoder.strides, skips=skips, final=final
    )
    size = (40, 36, 28)[:spatial_dims]
    assert decoder(encoder(torch.rand(2, 1, *size)), size).shape == (2, decoder.out_channels, *size)


def test_auto_widths_are_those_of_dira_and_never_above_the_skip() -> None:
    assert unet.auto_widths((64, 256, 512, 1024, 2048), 5) == [256, 128, 64, 32, 16]
    assert unet.auto_widths((64, 64, 128, 256, 512), 5) == [256, 128, 64, 32, 16]
    assert unet.auto_widths((16, 32, 64, 128), 4) == [64, 32, 16, 16]
    assert unet.auto_widths((32, 64, 128, 256, 320, 320), 5) == [256, 128, 64, 32, 16]


def test_shuffle_carries_eight_channels_at_full_resolution_unless_told_otherwise() -> None:
    made = {"spatial_dims": 2, "channels": (16, 32, 64), "strides": (2, 4, 8), "final": "shuffle"}
    assert unet.build(**made).out_channels == 8
    assert unet.build(**made, widths=[32, 16, 4]).out_channels == 4


def test_an_encoder_at_full_resolution_gets_a_block_per_skip_and_no_last_step() -> None:
    decoder = unet.build(spatial_dims=2, channels=(8, 16, 32), strides=(1, 2, 4))
    features = (torch.rand(1, 8, 16, 16), torch.rand(1, 16, 8, 8), torch.rand(1, 32, 4, 4))
    assert len(decoder.blocks) == 2
    assert decoder(features, (16, 16)).shape == (1, 8, 16, 16)


def test_strides_may_differ_between_axes() -> None:
    decoder = unet.build(spatial_dims=3, channels=(8, 16, 32), strides=((1, 1, 1), (1, 2, 2), (2, 4, 4)))
    features = (torch.rand(1, 8, 4, 8, 8), torch.rand(1, 16, 4, 4, 4), torch.rand(1, 32, 2, 2, 2))
    assert decoder(features, (4, 8, 8)).shape == (1, 8, 4, 8, 8)
    with pytest.raises(InputError, match=r"the same stride on all axes, not \(1, 2, 2\)"):
        unet.build(spatial_dims=3, channels=(8, 16), strides=((1, 2, 2), (2, 4, 4)), final="shuffle")


def test_every_level_reaches_the_output() -> None:
    for skips in ("concat", "add"):
        decoder = unet.build(spatial_dims=2, channels=(8, 16, 32), strides=(2, 4, 8), skips=skips)
        features = tuple(torch.rand(2, c, n, n, requires_grad=True) for c, n in ((8, 16), (16, 8), (32, 4)))
        decoder(features, (32, 32)).square().sum().backward()
        assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in features)


def test_without_skips_the_deepest_level_alone_reaches_the_output() -> None:
    decoder = unet.build(spatial_dims=2, channels=(8, 16, 32), strides=(2, 4, 8), skips="none")
    features = tuple(torch.rand(2, c, n, n, requires_grad=True) for c, n in ((8, 16), (16, 8), (32, 4)))
    decoder(features, (32, 32)).square().sum().backward()
    assert [f.grad is not None for f in features] == [False, False, True]


def test_widths_of_another_number_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[8, 8\] are 2, but the decoder has 3 blocks"):
        unet.build(spatial_dims=2, channels=(8, 16, 32), strides=(2, 4, 8), widths=[8, 8])


def test_shuffle_to_a_size_it_cannot_give_is_refused() -> None:
    decoder = unet.build(spatial_dims=2, channels=(8, 16), strides=(2, 4), final="shuffle")
    with pytest.raises(InputError, match=r"gives size \[16, 16\], not \[15, 16\]: use a multiple of 2"):
        decoder((torch.rand(1, 8, 8, 8), torch.rand(1, 16, 4, 4)), (15, 16))


@pytest.mark.parametrize(("final", "kernel"), [("conv", 3), ("shuffle", 3), ("shuffle", 1)])
def test_restores_detail_of_one_voxel(final: str, kernel: int) -> None:
    """White noise has all its detail at single voxels; below 3/4 of its variance 1/12 a net must see them."""
    torch.manual_seed(0)
    encoder = tiny.build(spatial_dims=2, in_channels=1)
    decoder = unet.build(spatial_dims=2, channels=encoder.channels, strides=encoder.strides, final=final, norm="group")
    net = torch.nn.ModuleList([encoder, decoder, RestorationHead(2, decoder.out_channels, 1, kernel)])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    blind = 1 / 12 * 3 / 4  # what is left when the means of 2x2 voxels are known
    for _ in range(150):
        x = torch.rand(2, 1, 32, 32)
        loss = (net[2](decoder(encoder(x), x.shape[2:])) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < blind / 2


def test_builds_on_the_meta_device() -> None:
    with torch.device("meta"):
        encoder = tiny.build(spatial_dims=3, in_channels=1)
        decoder = unet.build(spatial_dims=3, channels=encoder.channels, strides=encoder.strides)
        assert decoder(encoder(torch.rand(1, 1, 32, 32, 32)), (32, 32, 32)).shape == (1, 16, 32, 32, 32)
