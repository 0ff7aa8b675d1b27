"""DiRA's patch discriminator, in 2D as released and in 3D with the same layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medssl.models import norm as norms
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


class PatchDiscriminator(nn.Sequential):
    """PatchGAN discriminator: images (B,C,*S) -> one number per patch (B,1,*ceil(S/8)).

    Five convolutions of kernel 3 with strides 2,2,2,1,1 and 64,128,256,512,1 channels, LeakyReLU 0.2 between them,
    instance norm without scale and shift on the middle three; weights drawn from N(0, 0.02). Biases before an instance
    norm exist but are not trained, since the norm removes them. Source: DiRA's published code (Haghighi et al. 2022).
    Without norm the receptive field is 47 voxels per axis.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the images.
        base_channels: of the first convolution; the next three double them.
        norm: "instance", "group" or "none".

    >>> PatchDiscriminator(2, 1, base_channels=8)(torch.zeros(1, 1, 64, 64)).shape
    torch.Size([1, 1, 8, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        base_channels: int = 64,
        norm: Literal["instance", "group", "none"] = "instance",
    ) -> None:
        conv = Conv[Conv.CONV, spatial_dims]
        widths = [in_channels, *(base_channels * 2**i for i in range(4))]
        layers: list[nn.Module] = []
        for i, stride in enumerate((2, 2, 2, 1)):
            layer = conv(widths[i], widths[i + 1], 3, stride=stride, padding=1)
            layers.append(layer)
            if i > 0 and norm == "instance":
                # A group norm of one channel per group is an instance norm, and faster than torch's own. It removes
                # the bias, whose gradient is therefore rounding noise, which Adam would turn into full steps.
                layers.append(nn.GroupNorm(widths[i + 1], widths[i + 1], affine=False))
                layer.bias.register_hook(torch.zeros_like)
            elif i > 0 and norm == "group":
                layers.append(norms.build(norm, spatial_dims, widths[i + 1], affine=False))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        super().__init__(*layers, conv(widths[-1], 1, 3, padding=1))
        self.norm = norm
        for module in self:
            if isinstance(module, nn.modules.conv._ConvNd):
                nn.init.normal_(module.weight, std=0.02)

    def check(self, size: Sequence[int]) -> None:
        """Raises InputError for a `size` (*S) that leaves a single voxel for the instance norm."""
        if self.norm == "instance" and max(size) <= 8:
            raise InputError(
                f"the discriminator needs an axis above 8 voxels, not {list(size)}: use larger views or norm: group"
            )

    def forward(self, x_BC: Tensor) -> Tensor:
        """(B,C,*S) -> (B,1,*ceil(S/8)). Raises InputError for images too small, see `check`."""
        self.check(x_BC.shape[2:])
        return super().forward(x_BC)
