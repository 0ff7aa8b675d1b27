"""Gray images for an encoder of three input channels, as DiRA's release feeds its 2D network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

CHANNELS = 3


def is_expanded(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe (plain dictionaries) repeats its one gray channel three times: `views.faithful` in 2D."""
    faithful = (recipe.get("views") or {}).get("faithful", False)
    return bool(faithful) and recipe["spatial_dims"] == 2 and recipe["channels"] == 1


def expand(encoder: nn.Module) -> None:
    """Make `encoder`, which has three input channels, accept gray images (B,1,H,W); copies of it accept them too.

    >>> import torch
    >>> encoder = torch.nn.Conv2d(3, 8, 3)
    >>> expand(encoder)
    >>> encoder(torch.zeros(1, 1, 16, 16)).shape
    torch.Size([1, 8, 14, 14])
    """
    encoder.register_forward_pre_hook(_expand_gray)


def _expand_gray(encoder: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].expand(-1, CHANNELS, -1, -1),)
