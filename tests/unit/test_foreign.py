"""Weights of other tools, each from a file of its form made here: the encoder gives the features of the original."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from monai.networks.nets.resnet import ResNet, get_inplanes
from torch import nn

from medssl.build import kinds
from medssl.models import foreign, weights
from medssl.recipe import Options
from medssl.runtime import init_weights
from medssl.runtime.known import load
from medssl.types import InputError

torch.set_num_threads(1)
SIZE = {2: (64, 64), 3: (32, 32, 32)}


def encoder(settings, dims, channels):
    torch.manual_seed(9)
    made = kinds.make("encoder", settings, {"spatial_dims": dims, "in_channels": channels})
    return nn.ModuleDict({"encoder": made}).eval()


def start(path, channels=None):
    """The encoder that encoder=auto builds, with the weights of `path`, and the report."""
    found = foreign.recognise(weights.read(path))
    model = encoder(found.encoder, found.spatial_dims, channels or found.channels)
    return model["encoder"], init_weights.start(model, Options(init=str(path)), ["encoder", "decoder"])


def with_statistics(net):
    """Batch norms that have seen something: equal features then need their buffers, too."""
    torch.manual_seed(1)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight, 1, 0.2)
    return net.eval()


def resnet(dims, depth, channels, *, shortcut="B", bias=False, fc=True):
    block, layers = {18: ("basic", [2, 2, 2, 2]), 50: ("bottleneck", [3, 4, 6, 3])}[depth]
    settings = {"n_input_channels": channels, "conv1_t_stride": 2, "shortcut_type": shortcut, "bias_downsample": bias}
    net = ResNet(block, layers, get_inplanes(), spatial_dims=dims, feed_forward=fc, num_classes=7, **settings)
    return with_statistics(net)


def deepest(net, x):
    """What a ResNet pools."""
    x = net.maxpool(net.act(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


@pytest.mark.parametrize(
    ("dims", "depth", "form"),
    [
        (3, 18, {"shortcut": "A", "fc": False}),  # MedicalNet
        (3, 50, {"bias": True}),  # MONAI, whose shortcut may have a bias
        (2, 18, {}),  # torchvision
        (2, 50, {}),  # timm
    ],
)
def test_a_resnet_gives_the_features_of_the_original(tmp_path, dims, depth, form):
    channels = 1 if dims == 3 else 3
    net = resnet(dims, depth, channels, **form)
    tensors = {f"module.{name}" if dims == 3 else name: tensor for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 3} if dims == 3 else tensors, tmp_path / "resnet.pth")
    ours, origin = start(tmp_path / "resnet.pth")
    x = torch.rand(2, channels, *SIZE[dims])
    torch.testing.assert_close(ours(x)[-1], deepest(net, x), rtol=1e-4, atol=1e-4)
    assert (origin.missing, origin.adapted) == ([], [])
    assert f"depth {depth}" in origin.sentence()
    assert ("left out: fc" in origin.sentence()) == form.get("fc", True)


def test_colour_weights_take_gray_images_and_the_report_says_so(tmp_path):
    net = resnet(2, 18, 3)
    torch.save(net.state_dict(), tmp_path / "resnet.pth")
    ours, origin = start(tmp_path / "resnet.pth", channels=1)
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(ours(x)[-1], deepest(net, x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    assert "adapted to the image channels: encoder.conv1.weight 64x3x7x7 to 64x1x7x7" in origin.sentence()


def test_the_residual_encoder_of_nnssl(tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    torch.manual_seed(0)
    strides, kernels = [[1] * 3, [2] * 3, [2] * 3], [[1, 3, 3], [3] * 3, [3] * 3]
    net = unet.ResidualEncoderUNet(
        1, 3, [32, 64, 128], nn.Conv3d, kernels, strides, [1, 3, 4], 2, [1, 1], True, nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    ).eval()  # fmt: skip
    content = {"network_weights": net.state_dict(), "nnssl_adaptation_plan": {}, "trainer_name": "t", "citations": []}
    torch.save(content, tmp_path / "checkpoint_final.pth")
    ours, origin = start(tmp_path / "checkpoint_final.pth")
    x = torch.rand(1, 1, 16, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(ours(x), net.encoder(x), strict=True))
    assert "left out: decoder" in origin.sentence()
    two, origin = start(tmp_path / "checkpoint_final.pth", channels=2)
    for a, b in zip(two(x.expand(-1, 2, -1, -1, -1)), ours(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert "stem.convs.0.conv.weight 32x1x1x3x3 to 32x2x1x3x3" in origin.sentence()


def swin(*, use_v2):
    pytest.importorskip("einops", reason="the extra `swin` is not installed")
    from monai.networks.nets.swin_unetr import SwinUNETR

    torch.manual_seed(0)
    return SwinUNETR(in_channels=1, out_channels=3, feature_size=24, use_v2=use_v2, spatial_dims=3).eval()


@pytest.mark.parametrize("form", ["voco", "monai", "nvidia"])
def test_swin_unetr_of_three_releases(tmp_path, form):
    net = swin(use_v2=form == "voco")
    tensors = net.state_dict()
    if form == "voco":
        tensors = {"net": {f"module.backbone.{name}": tensor for name, tensor in tensors.items()}}
    elif form == "nvidia":  # the transformer alone, with heads of its pretraining
        names = {name: name.removeprefix("swinViT.") for name in tensors if name.startswith("swinViT.")}
        names = {name: short.replace("linear1", "fc1").replace("linear2", "fc2") for name, short in names.items()}
        heads = {"module.rotation_head.weight": torch.rand(4, 384), "module.norm.weight": torch.rand(384)}
        tensors = {"state_dict": {f"module.{short}": tensors[name] for name, short in names.items()} | heads}
    torch.save(tensors, tmp_path / "swin.pt")
    ours, origin = start(tmp_path / "swin.pt")
    x = torch.rand(1, 1, 64, 32, 32)
    hidden = net.swinViT(x, True)
    torch.testing.assert_close(ours(x)[4], hidden[3])
    if form == "nvidia":
        assert {name.split(".")[1] for name in origin.missing} == {f"encoder{i}" for i in (1, 2, 3, 4, 10)}
        assert "drawn at random: encoder.encoder1, encoder.encoder2, encoder.encoder3" in origin.sentence()
        assert "rotation_head" in origin.sentence()
    else:
        torch.testing.assert_close(ours(x)[5], net.encoder10(hidden[4]))
        torch.testing.assert_close(ours(x)[0], net.encoder1(x))
        assert origin.missing == []
        assert "left out: decoder5, decoder4, decoder3, decoder2, decoder1, out" in origin.sentence()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"eva.blocks.0.attn.qkv.weight": (6, 2), "down_projection.proj.weight": (2, 1, 8, 8, 8)}, "Primus"),
        ({"embeddings.patch_embeddings.projection.weight": (4, 3, 14, 14)}, "DINOv2"),
        ({"cls_token": (1, 1, 4), "patch_embed.proj.weight": (4, 3, 16, 16)}, "a vision transformer"),
        ({"encoder.stages.0.0.convs.0.conv.weight": (8, 1, 3, 3, 3)}, "PlainConvUNet"),
        ({f"{name}conv1.weight": (4, 3, 3, 3) for name in ("", *(f"layer{i}.0." for i in range(1, 5)))}, "ResNet with"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_refused_by_name(tmp_path, names, said):
    torch.save({"network_weights": {name: torch.zeros(shape) for name, shape in names.items()}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=f"these weights are of .*{said}"):
        foreign.recognise(weights.read(tmp_path / "w.pth"))


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_code_in_a_file_never_runs(tmp_path, place):
    tensors = resnet(2, 18, 3).state_dict()
    bad = Malicious(tmp_path / "ran")
    torch.save({"state_dict": tensors, "note": bad} if place == "beside" else tensors | {"x": bad}, tmp_path / "w.pth")
    model = encoder({"kind": "resnet"}, 2, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match="damaged or hold more than tensors"):
        init_weights.start(model, Options(init=str(tmp_path / "w.pth")), ["encoder"])
    assert not (tmp_path / "ran").exists()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_another_encoder_is_refused_with_the_settings_that_fit(tmp_path):
    torch.save(resnet(3, 18, 1, shortcut="A", fc=False).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"depth 18, in 3D.*use encoder=auto.*kind: resnet, depth: 18, shortcut: A"):
        init_weights.start(encoder({"kind": "tiny"}, 3, 1), Options(init=str(tmp_path / "w.pth")), ["encoder"])


def test_encoder_auto_takes_the_encoder_of_the_file(tmp_path):
    torch.save(resnet(2, 50, 3).state_dict(), tmp_path / "w.pth")
    changes = {"encoder": "auto", "spatial_dims": 2, "init": str(tmp_path / "w.pth")}
    made, _ = load("finetune", "classify_2d", changes)
    assert made.encoder == {"kind": "resnet", "depth": 50}


def test_weights_that_are_not_known_are_not_recognised():
    assert foreign.recognise({"encoder.levels.0.conv1.weight": torch.rand(4, 1, 3, 3)}) is None
