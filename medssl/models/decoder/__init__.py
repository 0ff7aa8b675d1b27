"""Decoders: one file per kind, each with a keyword-only `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from medssl.types import InputError

if TYPE_CHECKING:
    from torch import nn


def level_widths(decoder: nn.Module, asked: str, advice: str) -> tuple[int, ...]:
    """Channels of each level of a decoder that has `levels`, coarse to fine.

    Raises `InputError` for another decoder, naming the setting that `asked` for levels.
    """
    if not hasattr(decoder, "levels"):
        raise InputError(f"{asked} needs a decoder that gives its levels, as unet does: {advice}")
    return cast("tuple[int, ...]", decoder.widths)
