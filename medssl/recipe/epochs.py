"""Times in a recipe: where they stand, and the steps that epochs are once the number of training samples is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

from medssl.times import FORMS, ambiguous, epochs, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    R = TypeVar("R", bound=BaseModel)

GROUPS = ("method", "restore", "adversary", "crop", "tuning", "train")
KEYS = ("start", "end", "warmup", "every", "alone", "learn_from", "checkpoint_every", "validate_every")


def plain_times(group: dict[str, Any]) -> dict[str, Any]:
    """A group with its times as they are stored: `start: 20%` and `start: 0.2` are one recipe, with one hash.

    Raises ValueError for text that is no time; of what is not text the `build` of the group judges.
    """
    times = {}
    for key in KEYS:
        if isinstance(written := group.get(key), str):
            try:
                times[key] = plain(written)
            except ValueError as error:
                raise ValueError(f"has {key}={written!r}, but {key} {FORMS}") from error
    return {**group, **times}


def ambiguous_times(content: dict[str, Any]) -> list[str]:
    """The keys of a recipe, as it was written, whose time is 1.0."""
    return [f"{name}.{key}" for name, group, key in _places(content) if ambiguous(group[key])]


def _places(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Where a recipe holds a time: the name of its group, the group, the key."""
    groups = {name: content.get(name) for name in GROUPS}
    groups |= {f"optimizers.{name}": group for name, group in (content.get("optimizers") or {}).items()}
    for name, group in groups.items():
        for key in KEYS:
            if group and key in group:
                yield name, group, key


def in_steps(recipe: R, samples: int | None) -> R:
    """The recipe with each time in epochs as steps, ceil(epochs x samples / train.batch); itself if it has none.

    `samples`: training samples. None, not known yet, leaves every time to its default: as long as one of them cannot
    be told, neither can their order.
    """
    content = recipe.model_dump()
    places = list(_places(content))
    if all(epochs(group[key]) is None for _, group, key in places):
        return recipe
    for _, group, key in places:
        passes = epochs(group[key])
        if samples is None:
            del group[key]
        elif passes is not None:
            group[key] = math.ceil(passes * samples / content["train"]["batch"])
    return type(recipe).model_validate(content)
