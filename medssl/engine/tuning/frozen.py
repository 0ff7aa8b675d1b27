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
    """One phase in which some parts are frozen.

    Args:
        groups, steps, optimizer_warmup: supplied by medssl: names of the parameter groups, steps of the run and of the
            optimizer's warm-up.
        parts: what is frozen; with [encoder, decoder] only the head is trained.

    Raises InputError for parts that the network does not have, and if nothing is left to train.

    >>> build(groups=["encoder.0", "head"], steps=100, optimizer_warmup=0)[0].weights
    {'encoder.0': 0.0, 'head': 1.0}
    """
    return [Phase(steps, optimizer_warmup, rest.weights(groups, parts))]
