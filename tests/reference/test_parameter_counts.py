"""Parameter counts of the published networks (methods: DiRA 2022, He 2016), on the meta device, so without memory."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets.resnet import ResNetFeatures
from torch import nn

from medssl import recipe
from medssl.build import parts as build
from medssl.models import heads
from medssl.models.decoder import unet
from medssl.models.discriminator import PatchDiscriminator
from medssl.models.encoder import resnet, tiny


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(autouse=True)
def _meta() -> object:
    with torch.device("meta"):
        yield


def test_dira_2d() -> None:
    encoder = resnet.build(spatial_dims=2, in_channels=3, depth=50)
    decoder = unet.build(spatial_dims=2, channels=encoder.channels, strides=encoder.strides)
    restoration = heads.RestorationHead(2, decoder.out_channels, 1)
    projection = heads.projection(2048, 2048, 128)
    assert count(encoder) == 23_508_032
    assert count(decoder, restoration) == 9_013_073
    assert count(encoder, decoder, restoration) == 32_521_105
    assert count(projection) == 4_458_624
    assert count(encoder, decoder, restoration, projection) == 36_979_729


@pytest.mark.parametrize("name", ["dira_paper", "dira_repo"])
def test_the_shipped_recipes_build_the_published_networks(name: str) -> None:
    parts = build.pretrain_parts(recipe.load("pretrain", name, [])[0], samples=75_312).pretext
    assert count(parts.encoder, parts.decoder, parts.restore) == 32_521_105
    assert count(parts.encoder, parts.decoder, parts.restore, parts.method.head) == 36_979_729
    assert count(parts.adversary) == 1_554_433
    assert parts.encoder(torch.rand(2, 1, 64, 64))[-1].shape == (2, 2048, 2, 2)
    assert parts.reconstruct(torch.rand(2, 1, 64, 64)).shape == (2, 1, 64, 64)


def test_dira_2d_restores_one_channel_at_full_resolution() -> None:
    encoder = resnet.build(spatial_dims=2, in_channels=3, depth=50)
    decoder = unet.build(spatial_dims=2, channels=encoder.channels, strides=encoder.strides)
    features = encoder(torch.rand(2, 3, 224, 224))
    assert [tuple(f.shape[1:]) for f in features] == [
        (64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)
    ]  # fmt: skip
    assert heads.RestorationHead(2, 16, 1)(decoder(features, (224, 224))).shape == (2, 1, 224, 224)


@pytest.mark.parametrize(("spatial_dims", "expected"), [(2, 1_554_433), (3, 4_661_377)])
def test_discriminator(spatial_dims: int, expected: int) -> None:
    assert count(PatchDiscriminator(spatial_dims, 1)) == expected


def test_discriminator_grid_of_224() -> None:
    assert PatchDiscriminator(2, 1)(torch.rand(1, 1, 224, 224)).shape == (1, 1, 28, 28)


def test_resnet_18_has_what_public_weights_have() -> None:
    """Torchvision's resnet18 has 11,689,512 parameters, of which its classifier 512 x 1000 + 1000."""
    assert count(resnet.build(spatial_dims=2, in_channels=3, depth=18)) == 11_689_512 - 513_000


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_resnet_50_has_the_tensors_of_monai_features(spatial_dims: int) -> None:
    ours = resnet.build(spatial_dims=spatial_dims, in_channels=1, depth=50).state_dict()
    monai = ResNetFeatures("resnet50", pretrained=False, spatial_dims=spatial_dims, in_channels=1).state_dict()
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in monai.items()}


def test_tiny_with_its_light_decoder_has_105_million_hundredths() -> None:
    encoder = tiny.build(spatial_dims=3, in_channels=1)
    decoder = unet.build(
        spatial_dims=3, channels=encoder.channels, strides=encoder.strides, skips="add", convs=1, final="shuffle"
    )
    assert count(encoder) == 893_120
    assert round(count(encoder, decoder) / 1e6, 2) == 1.05
