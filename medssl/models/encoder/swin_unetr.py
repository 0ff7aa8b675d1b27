"""SwinUNETR's encoder (MONAI), with MONAI's tensor names, so that weights of VoCo, MONAI and NVIDIA load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from monai.networks.nets.swin_unetr import SwinUNETR
from torch import Tensor, nn

from medssl.models import sizes
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.types import Features


class SwinUNETREncoder(nn.Module):
    """The feature maps that SwinUNETR's decoder receives, at strides 1, 2, 4, 8, 16 and 32; see `build`."""

    def __init__(self, net: SwinUNETR, feature_size: int, spatial_dims: int) -> None:
        super().__init__()
        self.swinViT = net.swinViT
        self.encoder1, self.encoder2, self.encoder3 = net.encoder1, net.encoder2, net.encoder3
        self.encoder4, self.encoder10 = net.encoder4, net.encoder10
        self.channels = tuple(feature_size * width for width in (1, 1, 2, 4, 8, 16))
        self.strides = (1, 2, 4, 8, 16, 32)
        self.divisor = (32,) * spatial_dims

    def forward(self, x_BC: Tensor) -> Features:
        """(B,C,*S) -> six feature maps. Raises InputError if S is not a multiple of 32."""
        sizes.check(x_BC.shape[2:], self.divisor)
        hidden = self.swinViT(x_BC, True)
        finer = (self.encoder1(x_BC), self.encoder2(hidden[0]), self.encoder3(hidden[1]), self.encoder4(hidden[2]))
        return (*finer, hidden[3], self.encoder10(hidden[4]))


def build(
    *, spatial_dims: int, in_channels: int, feature_size: Literal[24, 48, 96, 192] = 48, use_v2: bool = False
) -> SwinUNETREncoder:
    """The encoder of SwinUNETR (Hatamizadeh et al. 2022).

    In training every side must be above 32, since instance norm needs more than one voxel at the deepest level.

    Args:
        spatial_dims, in_channels: supplied by medssl: axes and channels of the images.
        feature_size: channels at full resolution; VoCo's B, L and H weights have 48, 96 and 192.
        use_v2: whether to add the residual convolutions of version 2, which VoCo's weights have.

    Raises InputError if einops is not installed.

    >>> build(spatial_dims=3, in_channels=1, feature_size=24).channels
    (24, 24, 48, 96, 192, 384)
    """
    try:
        net = SwinUNETR(
            in_channels=in_channels,
            out_channels=1,
            feature_size=feature_size,
            use_v2=use_v2,
            spatial_dims=spatial_dims,
        )
    except Exception as error:
        if type(error).__name__ == "OptionalImportError" or isinstance(error, ImportError):
            raise InputError("encoder swin_unetr needs einops: pip install einops") from error
        raise
    return SwinUNETREncoder(net, feature_size, spatial_dims)
