"""Times written as epochs, "10 epochs", and the steps that they are once the number of training samples is known."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    R = TypeVar("R", bound=BaseModel)

EPOCHS = re.compile(r"(\d+\.?\d*|\.\d+) epochs?")
GROUPS = ("method", "restore", "adversary", "crop", "train")
KEYS = ("start", "end", "warmup", "every", "checkpoint_every", "validate_every")


def epochs(time: Any) -> Fraction | None:
    """How many passes over the training samples a time stands for; None for any other way to write a time.

    >>> epochs("2.5 epochs")
    Fraction(5, 2)
    """
    found = EPOCHS.fullmatch(time) if isinstance(time, str) else None
    return Fraction(found[1]) if found else None  # exact: ceil(0.1 x 30) would be 4 in floats


def in_steps(recipe: R, samples: int | None) -> R:
    """The recipe with each time in epochs as steps, ceil(epochs x samples / train.batch); itself if it has none.

    `samples`: training samples. None, not known yet, leaves every time to its default: as long as one of them cannot
    be told, neither can their order.
    """
    content = recipe.model_dump()
    groups = [*(content[name] for name in GROUPS if content.get(name)), *content["optimizers"].values()]
    places = [(group, key) for group in groups for key in KEYS if key in group]
    if all(epochs(group[key]) is None for group, key in places):
        return recipe
    for group, key in places:
        passes = epochs(group[key])
        if samples is None:
            del group[key]
        elif passes is not None:
            group[key] = math.ceil(passes * samples / content["train"]["batch"])
    return type(recipe).model_validate(content)
