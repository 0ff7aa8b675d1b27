"""A network that says for each cell of a coarse grid whether a lesion has its centre there, and how large it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from medssl.models.decoder import level_widths
from medssl.models.heads import SegmentationHead
from medssl.models.sizes import per_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIDES = {2: 4, 3: 2}  # voxels per cell, by dimensions (CenterNet; finer in 3D, where lesions are few voxels wide)
PRIOR = -4.6  # logit of a chance of .01, so that the many empty cells do not rule the first steps (nnDetection)


class HeatmapNet(nn.Module):
    """encoder -> decoder, down to the level of the wanted stride -> head: (B,C,*S) -> (B,K+n,*cells).

    The first K channels are logits of a centre of each class, the last n the logarithm of the sides of its box in
    voxels. Blocks of the decoder that are finer than that level have no part in it, and take no gradient.
    """

    def __init__(self, spatial_dims: int, encoder: nn.Module, decoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        widths = level_widths(decoder, "task.head=heatmap", "set decoder.kind=unet")
        coarse = [max(per_axis(stride, spatial_dims)) for stride in cast("Sequence[Any]", encoder.strides)]
        strides = [*reversed(coarse[:-1]), 1][: len(widths)]
        wanted = STRIDES[spatial_dims]
        self.blocks = 1 + max(n for n, stride in enumerate(strides) if stride >= wanted or n == 0)
        self.stride = strides[self.blocks - 1]
        for block in list(cast("nn.ModuleList", decoder.blocks))[self.blocks :]:
            block.requires_grad_(False)
        self.head = SegmentationHead(spatial_dims, widths[self.blocks - 1], classes + spatial_dims)
        bias, weight = cast("nn.Parameter", self.head[0].bias), cast("nn.Parameter", self.head[0].weight)
        nn.init.zeros_(bias)
        nn.init.normal_(weight, std=1e-2)
        nn.init.constant_(bias[:classes], PRIOR)

    def forward(self, x_BC: Tensor) -> Tensor:
        """Logits and log sides on the grid of cells."""
        levels = self.decoder.levels(self.encoder(x_BC), tuple(x_BC.shape[2:]), self.blocks)  # type: ignore[operator]
        return self.head(levels[-1])
