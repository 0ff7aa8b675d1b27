"""Gray images for an encoder of three input channels, as DiRA's release feeds its 2D network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

CHANNELS = 3


def repeated(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe, as plain dictionaries, shows its one channel as three: `views.faithful` in 2D."""
    faithful = (recipe.get("views") or {}).get("faithful", False)
    return bool(faithful) and recipe["spatial_dims"] == 2 and recipe["channels"] == 1


def repeat(encoder: nn.Module) -> None:
    """Let `encoder`, of three input channels, take (B,1,H,W) wherever it is called; copies of it do the same."""
    encoder.register_forward_pre_hook(_thrice)


def _thrice(encoder: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].expand(-1, CHANNELS, -1, -1),)
