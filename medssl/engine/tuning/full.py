"""All parts are trained at the optimizer's learning rate from the first step on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(*, groups: Sequence[str], steps: int, optimizer_warmup: int) -> list[Phase]:
    """One phase in which all parameters are trained.

    Args:
        groups, steps, optimizer_warmup: supplied by medssl: names of the parameter groups, steps of the run and of the
            optimizer's warm-up.

    >>> build(groups=["encoder", "head"], steps=100, optimizer_warmup=0)[0].weights
    {'encoder': 1.0, 'head': 1.0}
    """
    return [Phase(steps, optimizer_warmup, dict.fromkeys(groups, 1.0))]
