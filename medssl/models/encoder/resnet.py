"""MONAI's ResNet-18 and ResNet-50, in 2D and 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from monai.networks.nets.resnet import ResNet, get_inplanes
from torch import Tensor, nn

from medssl.models import norm as norms
from medssl.models import sizes

if TYPE_CHECKING:
    from medssl.types import Features

BLOCKS: dict[int, tuple[str, list[int]]] = {18: ("basic", [2, 2, 2, 2]), 50: ("bottleneck", [3, 4, 6, 3])}


class ResNetEncoder(nn.Module):
    """The five levels of MONAI's ResNetFeatures (strides 2, 4, 8, 16, 32), with the same tensor names.

    ResNetFeatures fixes ResNet-18 to shortcuts of type A, which pass no gradient. Here both depths have type B, a
    convolution of kernel 1 without bias and a norm, unless `shortcut` says A, as for MedicalNet's ResNet-18. ResNet-50
    has 23,508,032 parameters at 3 channels in 2D. The arguments are those of `build`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        depth: Literal[18, 50],
        norm: norms.NormKind,
        shortcut: Literal["A", "B"] = "B",
    ) -> None:
        block, layers = BLOCKS[depth]
        super().__init__()
        net = ResNet(
            block=block,
            layers=layers,
            block_inplanes=get_inplanes(),
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            bias_downsample=False,
            feed_forward=False,
        )
        self.conv1, self.bn1, self.act, self.maxpool = net.conv1, net.bn1, net.act, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        if norm != "batch":  # MONAI's argument `norm` changes only the stem
            norms.replace_batch_norm(self, norm, spatial_dims)
        widen = 1 if depth == 18 else 4
        self.channels = (64, *(widen * planes for planes in get_inplanes()))
        self.strides = (2, 4, 8, 16, 32)
        self.divisor = (32,) * spatial_dims

    def forward(self, x_BC: Tensor) -> Features:
        """(B,C,*S) -> features at strides 2, 4, 8, 16, 32. Raises InputError if S is not a multiple of 32."""
        sizes.check(x_BC.shape[2:], self.divisor)
        features = [self.act(self.bn1(self.conv1(x_BC)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return tuple(features)


def build(
    *,
    spatial_dims: int,
    in_channels: int,
    depth: Literal[18, 50] = 18,
    norm: norms.NormKind = "batch",
    shortcut: Literal["A", "B"] = "B",
) -> ResNetEncoder:
    """A ResNet (He et al. 2016) with five levels; its stem has stride 2.

    Args:
        spatial_dims, in_channels: supplied by medssl: axes and channels of the images.
        depth: 18 or 50.
        norm: kind of norm.
        shortcut: A has no parameters (subsampling and padding with 0), B is a convolution and a norm.

    >>> encoder = build(spatial_dims=2, in_channels=1, depth=18)
    >>> encoder.channels, encoder.strides, encoder.divisor
    ((64, 64, 128, 256, 512), (2, 4, 8, 16, 32), (32, 32))
    """
    return ResNetEncoder(spatial_dims, in_channels, depth, norm, shortcut)
