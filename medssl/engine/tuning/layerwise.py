"""Finer levels of the encoder have lower learning rates: features close to the image are the most general.

Layer-wise decay of the learning rate as in the fine-tuning of BEiT (Bao et al. 2022, appendix) and MAE (He et al.
2022, appendix A.1), with the encoder's levels as layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.engine.phases import ENCODER, Phase
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(*, groups: Sequence[str], steps: int, optimizer_warmup: int, decay: float = 0.75) -> list[Phase]:
    """One phase in which each level of the encoder has its own learning rate.

    Args:
        groups, steps, optimizer_warmup: supplied by medssl: names of the parameter groups, steps of the run and of the
            optimizer's warm-up.
        decay: level l of L levels (the deepest is L - 1) has decay^(L - l) of the learning rate; other parts all of it.

    Raises InputError unless 0 < decay <= 1.

    >>> build(groups=["encoder.0", "encoder.1", "head"], steps=100, optimizer_warmup=0, decay=0.5)[0].weights
    {'encoder.0': 0.25, 'encoder.1': 0.5, 'head': 1.0}
    """
    if not 0 < decay <= 1:
        raise InputError(
            f"tuning.decay={decay} is the ratio of learning rates between levels: give a number above 0, at most 1"
        )
    levels = [name for name in groups if name.startswith(f"{ENCODER}.")]
    deepest = max((int(name.split(".")[1]) for name in levels), default=0)
    weights = {name: decay ** (deepest + 1 - int(name.split(".")[1])) for name in levels}
    return [Phase(steps, optimizer_warmup, {name: weights.get(name, 1.0) for name in groups})]
