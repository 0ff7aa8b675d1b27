"""The command that makes a run again: the shipped recipe that its own differs least from, and what differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medssl.build import finetune_setup, parts
from medssl.recipe import FRAMES, parse, shipped, validate
from medssl.recipe.auto import IMAGES, Known, settle
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PER_RUN = ("data",)  # where the data lies, and how many processes read it, is each user's own


def command(verb: str, recipe: Mapping[str, Any]) -> list[str]:
    """The words after `medssl`: verb, recipe, and each override, `recipe` being one with every default filled in."""
    found = [
        (overrides, path.stem) for path in shipped(verb) if (overrides := _overrides(verb, path, recipe)) is not None
    ]
    if not found:
        return [verb, "recipe.yaml"]
    overrides, name = min(found, key=lambda one: (len(one[0]), one[1]))
    return [verb, name, *overrides]


def _overrides(verb: str, path: Path, recipe: Mapping[str, Any]) -> list[str] | None:
    """What makes the shipped recipe at `path` into `recipe`; None where it cannot be settled for such images."""
    group = recipe[IMAGES[verb]]
    known = Known(recipe["spatial_dims"], recipe["channels"], group["preset"], recipe["encoder"], recipe["decoder"])
    try:
        content = settle(verb, parse(path.read_text(encoding="utf-8"), path.stem), known)
        found: Any = validate(FRAMES[verb], content, path.stem)
        theirs = parts.resolved(found) if verb == "pretrain" else finetune_setup.resolved(found, found.task)
    except InputError:
        return None
    return [f"{key}={_word(value)}" for key, value in _differences(theirs, recipe) if key.split(".")[0] not in PER_RUN]


def _differences(before: Any, now: Any, key: str = "") -> list[tuple[str, Any]]:
    """The keys in which two recipes differ, with the later value; a group of another kind is one key."""
    same_kind = isinstance(before, dict) and isinstance(now, dict) and before.get("kind") == now.get("kind")
    if not same_kind:
        return [] if before == now else [(key, now)]
    below = [one for name in now for one in _differences(before.get(name), now[name], f"{key}.{name}" if key else name)]
    return below + [(f"{key}.{name}", None) for name in before if name not in now and before[name] is not None]


def _word(value: Any) -> str:
    """A value as YAML in one line, which JSON is."""
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)
