"""The restorative branch: from decoded features back to the uncorrupted view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from medssl import losses
from medssl.models import heads

if TYPE_CHECKING:
    from medssl.types import Views


class Restore(nn.Module):
    """Reconstruction of view 0 and its distance to the target (Haghighi et al. 2022, section 3)."""

    def __init__(self, head: nn.Module, loss: losses.RestorationKind, masked_only: bool) -> None:
        super().__init__()
        self.head, self.loss, self.masked_only = head, loss, masked_only

    def forward(self, decoded_BC: Tensor, views: Views) -> tuple[Tensor, Tensor]:
        """Decoder output (B,C',*S) -> reconstruction (B,C,*S) in [0,1] and the scalar loss."""
        reconstruction: Tensor = self.head(decoded_BC)
        mask = views.mask if self.masked_only else None
        return reconstruction, losses.restoration(reconstruction, views.target, self.loss, mask)


def build(
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    loss: losses.RestorationKind = "mse",
    masked_only: bool = False,
    kernel: Literal[1, 3] = 3,
) -> Restore:
    """A convolution and sigmoid on the decoder's output, and the loss of the restored image.

    Args:
        spatial_dims, in_channels, out_channels: supplied by medssl: axes, channels of the decoder's output and of the
            images.
        loss: "mse", "l1" or "ssim" (0.84 (1 - SSIM) + 0.16 L1).
        masked_only: whether only corrupted voxels count, as in masked auto-encoding.
        kernel: of the convolution.

    >>> build(spatial_dims=2, in_channels=16, out_channels=1).loss
    'mse'
    """
    return Restore(heads.RestorationHead(spatial_dims, in_channels, out_channels, kernel), loss, masked_only)
