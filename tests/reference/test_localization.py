"""Hand cases of lesion localization (activation maps, boxes), as the libraries that it builds on must give them."""

from __future__ import annotations

import pytest
import torch
from monai.data.box_utils import box_iou
from monai.visualize.class_activation_maps import GradCAM
from torch import nn
from torch.testing import assert_close


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
