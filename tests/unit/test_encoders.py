from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from medssl.models import norm, sizes
from medssl.models.decoder import unet
from medssl.models.encoder import resenc, resnet, tiny
from medssl.types import InputError


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_tiny_features_have_the_stated_channels_and_strides(spatial_dims: int) -> None:
    encoder = tiny.build(spatial_dims=spatial_dims, in_channels=2)
    features = encoder(torch.rand(2, 2, *[32] * spatial_dims))
    shapes = [tuple(f.shape) for f in features]
    assert shapes == [(2, c, *[32 // s] * spatial_dims) for c, s in zip(encoder.channels, encoder.strides, strict=True)]


def test_tiny_rounds_up_sizes_its_stem_divides() -> None:
    features = tiny.build(spatial_dims=3, in_channels=1)(torch.rand(1, 1, 40, 56, 36))
    assert [tuple(f.shape[2:]) for f in features] == [(20, 28, 18), (10, 14, 9), (5, 7, 5), (3, 4, 3)]


def test_tiny_sees_every_voxel() -> None:
    x = torch.rand(1, 1, 8, 8, 8, requires_grad=True)
    tiny.build(spatial_dims=3, in_channels=1)(x)[0].square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_tiny_refuses_odd_sizes_naming_both_and_the_nearest() -> None:
    with pytest.raises(InputError, match=r"\[33, 32, 32\].*\[2, 2, 2\].*\[32, 32, 32\] or \[34, 32, 32\]"):
        tiny.build(spatial_dims=3, in_channels=1)(torch.rand(1, 1, 33, 32, 32))


def test_check_names_the_nearest_sizes_per_axis() -> None:
    sizes.check((64, 96), 32)
    sizes.check((64, 96, 8), (32, 32, 8))
    with pytest.raises(InputError, match=r"view size \[100, 96\].*\[32, 32\]: use \[96, 96\] or \[128, 96\]"):
        sizes.check((100, 96), 32)
    with pytest.raises(InputError, match=r"use \[32, 32\]$"):  # nothing below fits
        sizes.check((20, 20), 32)
    with pytest.raises(InputError, match="3 axes, but the encoder has 2"):
        sizes.check((32, 32, 32), (32, 32))


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("batch", nn.BatchNorm3d),
        ("sync_batch", norm.SyncBatchNorm),
        ("instance", nn.InstanceNorm3d),
        ("group", nn.GroupNorm),
    ],
)
def test_norm_by_recipe_reaches_every_block(kind: norm.NormKind, layer: type[nn.Module]) -> None:
    encoder = tiny.build(spatial_dims=3, in_channels=1, norm=kind)
    found = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._NormBase | nn.GroupNorm)]
    assert len(found) == 8
    assert all(isinstance(m, layer) for m in found)
    assert all(m.weight is not None for m in found)


def test_group_norm_has_at_most_32_groups_of_at_least_2_channels() -> None:
    groups = {c: norm.build("group", 2, c).num_groups for c in (5, 16, 64, 320, 2048)}
    assert groups == {5: 1, 16: 8, 64: 32, 320: 32, 2048: 32}


def test_sync_batch_norm_on_one_rank_is_batch_norm() -> None:
    x = torch.rand(4, 3, 5, 5)
    ours, theirs = norm.build("sync_batch", 2, 3), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.running_var.tolist() == theirs.running_var.tolist()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_sync_batch_norm_of_two_ranks_is_batch_norm_of_the_whole_batch(tmp_path: Path) -> None:
    """Outputs, running values and gradients of two gloo ranks with 4 samples each, against one process with all 8."""
    torch.multiprocessing.spawn(_one_of_two_ranks, (str(tmp_path),), nprocs=2)
    x, weight = _batch()
    layer = nn.BatchNorm2d(3).double()
    y = layer(x)
    (y * weight).sum().backward()
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, whole in (("y", y.detach()), ("x", x.grad)):
        torch.testing.assert_close(torch.cat([r[name] for r in ranks]), whole, rtol=0, atol=1e-10)
    torch.testing.assert_close(ranks[0]["scale"] + ranks[1]["scale"], layer.weight.grad, rtol=0, atol=1e-10)
    for r in ranks:
        torch.testing.assert_close(r["mean"], layer.running_mean, rtol=0, atol=1e-10)
        torch.testing.assert_close(r["var"], layer.running_var, rtol=0, atol=1e-10)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    x, weight = torch.randn(2, 8, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (x * 3 + 1).requires_grad_(), weight


def _one_of_two_ranks(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    x, weight = (t.detach().chunk(2)[rank] for t in _batch())
    x.requires_grad_()
    layer = norm.build("sync_batch", 2, 3).double()
    y = layer(x)
    (y * weight).sum().backward()
    found = {"y": y.detach(), "x": x.grad, "scale": layer.weight.grad}
    torch.save(found | {"mean": layer.running_mean, "var": layer.running_var}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_resnet_has_five_levels_halving_from_a_strided_stem(spatial_dims: int, depth: int) -> None:
    with torch.device("meta"):
        encoder = resnet.build(spatial_dims=spatial_dims, in_channels=1, depth=depth)
        features = encoder(torch.rand(2, 1, *[64] * spatial_dims))
    assert [tuple(f.shape[1:]) for f in features] == [
        (c, *[64 // s] * spatial_dims) for c, s in zip(encoder.channels, (2, 4, 8, 16, 32), strict=True)
    ]


def test_resnet_18_passes_gradient_through_its_shortcuts() -> None:
    """MONAI's ResNetFeatures gives ResNet-18 shortcuts of type A, which copy `.data` and so cut the gradient."""
    encoder = resnet.build(spatial_dims=2, in_channels=1, depth=18)
    shortcut = encoder.layer4[0].downsample
    assert isinstance(shortcut, nn.Sequential)
    assert shortcut[0].bias is None
    encoder(torch.rand(2, 1, 64, 64))[-1].square().sum().backward()
    assert shortcut[0].weight.grad.abs().sum() > 0


def test_resnet_refuses_sizes_that_32_does_not_divide() -> None:
    with pytest.raises(InputError, match=r"\[100, 96\].*\[32, 32\]: use \[96, 96\] or \[128, 96\]"):
        resnet.build(spatial_dims=2, in_channels=1)(torch.rand(1, 1, 100, 96))


@pytest.mark.parametrize("kind", ["sync_batch", "instance", "group"])
def test_resnet_has_no_batch_norm_left_under_another_norm(kind: norm.NormKind) -> None:
    with torch.device("meta"):
        plain = resnet.build(spatial_dims=3, in_channels=1)
        encoder = resnet.build(spatial_dims=3, in_channels=1, norm=kind)
    assert not [m for m in encoder.modules() if type(m) is nn.BatchNorm3d]
    assert dict(encoder.named_parameters()).keys() == dict(plain.named_parameters()).keys()


class TestResEnc:
    @pytest.fixture(autouse=True)
    def _needs_the_extra(self) -> None:
        pytest.importorskip("dynamic_network_architectures", reason="the extra `resenc` is not installed")

    def test_three_dimensional_presets_have_the_tensors_of_nnunet(self) -> None:
        from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

        channels, blocks = (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)
        with torch.device("meta"):
            nnunet = ResidualEncoderUNet(
                1, 6, channels, nn.Conv3d, 3, (1, 2, 2, 2, 2, 2), blocks, 2, 1, conv_bias=True,
                norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
            )  # fmt: skip
            theirs = {n: t.shape for n, t in nnunet.encoder.state_dict().items()}
            for preset in ("M", "L", "XL"):
                encoder = resenc.build(spatial_dims=3, in_channels=1, preset=preset)
                assert {n: t.shape for n, t in encoder.state_dict().items()} == theirs
                assert encoder.channels == channels

    def test_the_letters_differ_in_2d_alone_and_there_by_their_stages(self) -> None:
        with torch.device("meta"):
            found = {
                (dims, preset): sum(
                    p.numel() for p in resenc.build(spatial_dims=dims, in_channels=1, preset=preset).parameters()
                )
                for dims in (2, 3)
                for preset in ("M", "L", "XL")
            }
        assert found[3, "M"] == found[3, "L"] == found[3, "XL"] == 90_296_576
        assert found[2, "M"] < found[2, "L"] == found[2, "XL"]

    def test_weights_pass_to_nnunet_and_give_the_same_features(self) -> None:
        from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder

        ours = resenc.build(spatial_dims=2, in_channels=1, stages=3)
        theirs = ResidualEncoder(
            1, 3, (32, 64, 128), nn.Conv2d, 3, (1, 2, 2), (1, 3, 4), True, nn.InstanceNorm2d,
            {"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, return_skips=True,
        )  # fmt: skip
        theirs.load_state_dict(ours.state_dict())
        x = torch.rand(1, 1, 16, 16)
        torch.testing.assert_close(list(ours(x)), theirs(x))

    def test_anisotropic_strides_make_anisotropic_levels_the_decoder_follows(self) -> None:
        encoder = resenc.build(
            spatial_dims=3, in_channels=1, strides=[1, (1, 2, 2), 2], kernels=[(1, 3, 3), 3, 3], norm="group"
        )
        features = encoder(torch.rand(1, 1, 6, 16, 16))
        assert encoder.strides == ((1, 1, 1), (1, 2, 2), (2, 4, 4))
        assert [tuple(f.shape[2:]) for f in features] == [(6, 16, 16), (6, 8, 8), (3, 4, 4)]
        decoder = unet.build(spatial_dims=3, channels=encoder.channels, strides=encoder.strides, norm="group")
        assert decoder(features, (6, 16, 16)).shape == (1, 16, 6, 16, 16)
        with pytest.raises(InputError, match=r"\[5, 16, 16\].*\[2, 4, 4\]: use \[4, 16, 16\] or \[6, 16, 16\]"):
            encoder(torch.rand(1, 1, 5, 16, 16))

    def test_counts_that_disagree_are_refused(self) -> None:
        for wrong, message in [
            ({"stages": 4, "strides": [1, 2, 2]}, "stages=4, but 3 strides"),
            ({"stages": 3, "kernels": [3, 3]}, "2 kernels, but 3 stages"),
            ({"strides": [1, (2, 2)]}, "need 3 numbers each"),
            ({"stages": 9}, "9 stages: give 2 to 8"),
        ]:
            with pytest.raises(InputError, match=message):
                resenc.build(spatial_dims=3, in_channels=1, **wrong)


def test_without_the_extra_resenc_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.building_blocks.residual_encoders", None)
    with pytest.raises(InputError, match="pip install --no-deps dynamic-network-architectures"):
        resenc.build(spatial_dims=3, in_channels=1)
