"""Times in a recipe: which keys hold them, and how epochs become steps once the number of samples is known."""

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
    """A group with its times in one form, so that `start: 20%` and `start: 0.2` are the same recipe with the same hash.

    Raises ValueError for text that is not a time; values of other types are checked by the `build` of the group.
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
    """The keys of a recipe, as written, whose time is 1.0."""
    return [f"{name}.{key}" for name, group, key in _places(content) if ambiguous(group[key])]


def _places(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """All times of a recipe: the name of the group, the group, the key."""
    groups = {name: content.get(name) for name in GROUPS}
    groups |= {f"optimizers.{name}": group for name, group in (content.get("optimizers") or {}).items()}
    for name, group in groups.items():
        for key in KEYS:
            if group and key in group:
                yield name, group, key


def in_steps(recipe: R, samples: int | None) -> R:
    """Convert times in epochs to steps, ceil(epochs x samples / train.batch); a recipe without any is returned as is.

    `samples` is the number of training samples. If it is not known yet (None), all times get their defaults, since
    neither the missing times nor their order can be checked.
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
