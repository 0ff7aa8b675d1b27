"""All parts are trained at the optimizer's learning rate from the first step on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(*, groups: Sequence[str], steps: int, optimizer_warmup: int) -> list[Phase]:
    """One phase in which every group has weight 1."""
    return [Phase(steps, optimizer_warmup, dict.fromkeys(groups, 1.0))]
