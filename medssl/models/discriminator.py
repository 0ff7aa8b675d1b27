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
    """Five conv3 of strides 2,2,2,1,1 and 64,128,256,512,1 channels: (B,C,*S) -> (B,1,*ceil(S/8)), one number a patch.

    LeakyReLU 0.2 between them; instance norm without scale and shift on the middle three; weights N(0, 0.02).
    Biases before an instance norm are there and stay as they are, since they change nothing.
    Source: DiRA's release (Haghighi et al. 2022). Receptive field 47 voxels an axis where norm is "none".
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
                # As groups of one channel: the same, and faster than torch's own. It takes away what a bias adds, whose
                # gradient is rounding noise, which Adam makes steps of.
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
        """Raises InputError where instance norm would see a single voxel."""
        if self.norm == "instance" and max(size) <= 8:
            raise InputError(
                f"the discriminator needs an axis above 8 voxels, not {list(size)}: use larger views or norm: group"
            )

    def forward(self, x_BC: Tensor) -> Tensor:
        """(B,C,*S) -> (B,1,*ceil(S/8)). Raises InputError."""
        self.check(x_BC.shape[2:])
        return super().forward(x_BC)
