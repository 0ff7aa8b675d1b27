"""Recipe keys that were added later. At the value that stands for the old behaviour they do not change the hash."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LATER: dict[tuple[str, ...], tuple[Any, ...]] = {  # `*` is any key; the values that mean the old behaviour
    ("tuning",): (None, {"kind": "full"}),
    ("optimizers", "*", "nesterov"): (False,),
    ("method", "learn_from"): (0,),
    ("task", "levels"): ("deepest",),
    ("task", "mirror"): (False,),
    ("task", "deep_supervision"): (False,),
    ("task", "keep"): ("all",),
    ("task", "instances"): (False,),
    ("task", "uncertain"): ("ignore",),
    ("encoder", "shortcut"): ("B",),
}


def without(content: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without the keys of LATER that have the value of the old behaviour.

    >>> without({"tuning": None, "optimizers": {"main": {"lr": 0.1, "nesterov": False}}})
    {'optimizers': {'main': {'lr': 0.1}}}
    """
    found = copy.deepcopy(dict(content))
    for path, values in LATER.items():
        _drop(found, path, values)
    return found


def _drop(group: dict[str, Any], path: Sequence[str], values: Sequence[Any]) -> None:
    first, *rest = path
    for key in list(group) if first == "*" else [first]:
        if rest and isinstance(group.get(key), dict):
            _drop(group[key], rest, values)
        elif not rest and key in group and group[key] in values:
            del group[key]
