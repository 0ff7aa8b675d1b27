"""Hand cases of lesion localization (activation maps, boxes), as the libraries that it builds on must give them."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from monai.data.box_utils import box_iou
from monai.visualize.class_activation_maps import GradCAM
from torch import nn
from torch.testing import assert_close

from medssl.tasks import classify


class Pooled(nn.Module):
    """Global average pooling and a linear layer on a convolution: the network of which CAM is known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 5, 3, padding=1)
        self.linear = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.features(x).mean((2, 3)))


@pytest.mark.parametrize("sigmoid", [False, True])
def test_grad_cam_of_pooling_and_a_linear_layer_is_cam(sigmoid: bool) -> None:
    """Its channel weight is w_c / (H W), or with a sigmoid on top s (1 - s) w_c / (H W): a positive scale."""
    torch.manual_seed(0)
    net = Pooled()
    x = torch.rand(1, 1, 6, 7)
    whole = nn.Sequential(net, nn.Sigmoid()) if sigmoid else net
    layer = "0.features" if sigmoid else "features"
    found = GradCAM(whole, layer, postprocessing=lambda x: x, upsampler=lambda size: nn.Identity())(x, class_idx=1)
    s = torch.sigmoid(net(x)[0, 1])
    scale = (s * (1 - s) if sigmoid else 1) / (6 * 7)
    cam = torch.einsum("c,bcyx->byx", net.linear.weight[1], net.features(x)).relu()
    assert_close(found[:, 0], (cam * scale).detach(), rtol=1e-5, atol=1e-8)


def test_boxes_that_share_a_corner_pixel_have_an_iou_of_a_seventh() -> None:
    one, other = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3]])
    assert box_iou(one, other).item() == pytest.approx(1 / 7)


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


DEEPEST = {"tiny": "levels.{}", "resnet": "layer{}", "resenc": "stages.{}.blocks"}  # numbered from 0, 1 and 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", list(DEEPEST))
def test_grad_cam_of_our_classifier_is_cam(kind: str, dims: int) -> None:
    """relu(sum w_c A_c) / voxels at the deepest level: the head is pooling and one linear layer."""
    if kind == "resenc":
        pytest.importorskip("dynamic_network_architectures")
    torch.manual_seed(0)
    small = {"stages": 3} if kind == "resenc" else {}
    encoder = import_module(f"medssl.models.encoder.{kind}").build(spatial_dims=dims, in_channels=1, **small)
    net = classify.build(classes=["a", "b", "c"]).model(encoder, None).eval()
    x = torch.rand(1, 1, *[64 if kind == "resnet" else 32] * dims)
    features = encoder(x)[-1]
    layer = DEEPEST[kind].format(len(encoder.channels) - 1)
    cam = GradCAM(net, f"encoder.{layer}", postprocessing=identity, upsampler=lambda size: nn.Identity())
    weight = next(p for p in net.head.parameters() if p.ndim == 2)[1]
    expected = torch.einsum("c,bc...->b...", weight, features).relu() / features[0, 0].numel()
    assert_close(cam(x, class_idx=1)[:, 0], expected.detach(), rtol=1e-4, atol=1e-7)
