"""A network for dense tasks: encoder, decoder and a 1x1 convolution; with deep supervision one on each level."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from medssl.models.decoder import level_widths
from medssl.models.heads import SegmentationHead


class Segmenter(nn.Module):
    """encoder -> decoder -> head: (B,C,*S) -> logits (B,K,*S), background first.

    With deep supervision it gives, while it trains, a tuple of logits, from the size of the input down by one level of
    the decoder each; otherwise the first of them alone. The coarsest level has no head (nnU-Net weighs it with 0).
    """

    def __init__(self, spatial_dims: int, encoder: nn.Module, decoder: nn.Module, outputs: int, *, deep: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.head = SegmentationHead(spatial_dims, cast("int", decoder.out_channels), outputs)
        self.deep = nn.ModuleList()
        if deep:
            widths = level_widths(decoder, "task.deep_supervision=true", "set it to false")
            self.deep.extend(SegmentationHead(spatial_dims, width, outputs) for width in widths[-2:0:-1])

    def forward(self, x_BC: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits at the size of the input; of all levels if `deep` and training."""
        features, size = self.encoder(x_BC), tuple(x_BC.shape[2:])
        if not (self.training and self.deep):
            return self.head(self.decoder(features, size))
        levels = self.decoder.levels(features, size)  # type: ignore[operator]
        heads = (self.head, *self.deep)
        return tuple(head(level) for head, level in zip(heads, reversed(levels), strict=False))
