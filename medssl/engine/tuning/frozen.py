"""The encoder is frozen, with its batch-norm statistics; the other parts are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine.phases import ENCODER, Phase
from medssl.engine.tuning import rest

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(
    *, groups: Sequence[str], steps: int, optimizer_warmup: int, parts: tuple[str, ...] = (ENCODER,)
) -> list[Phase]:
    """One phase with `parts` frozen: with `[encoder, decoder]` only the head is trained. Raises `InputError`."""
    return [Phase(steps, optimizer_warmup, rest.weights(groups, parts))]
