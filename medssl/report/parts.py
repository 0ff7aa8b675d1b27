"""The parts of a section of the page: tables and pictures."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from medssl.recipe.paths import PATHS

NUMBER = re.compile(r"-$|[+-]?\d[\d.e+-]*( to [+-]?\d[\d.e+-]*|%| MiB)?$")

PLACES = (*PATHS, "init", "out", "probe")  # keys of recipes and run options that name files
PATH = re.compile(r"[/\\]|\.(yaml|yml|json|csv|pt|safetensors)$")


class Table(NamedTuple):
    """A small table; an empty head is not shown."""

    title: str
    head: list[str]
    rows: list[list[str]]
    text: str = ""

    @property
    def right(self) -> list[bool]:
        """Which columns are right-aligned: those that contain only numbers, except the first, which names the row."""
        filled = [[cell for cell in column if cell] for column in zip(*self.rows, strict=True)]
        return [bool(i and cells and all(map(NUMBER.match, cells))) for i, cells in enumerate(filled)]


class Picture(NamedTuple):
    """A picture, as base64 PNG."""

    title: str
    caption: str
    png: str


def number(value: Any, form: str = ".4g") -> str:
    """A value in a cell; a dash if it is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return format(value, form) if isinstance(value, float) else str(value)


def limits(low: Any, high: Any, form: str = ".4f") -> str:
    """An interval in a cell; a dash if there is none."""
    return "-" if number(low) == "-" or number(high) == "-" else f"{low:{form}} to {high:{form}}"


def encoded(png: bytes) -> str:
    """A PNG as base64 text."""
    return base64.b64encode(png).decode()


def words(verb: str, recipe: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """A command line, with `(given)` in place of every path.

    >>> words("pretrain", "/data/my.yaml", {"train.steps": 5, "data.cache": "jane", "init": "scratch"})
    ('pretrain', '(given)', 'train.steps=5', 'data.cache=(given)', 'init=scratch')
    >>> words("benchmark", "mine", {"data": {"key": "jane.key"}, "inits.a": "jane"})
    ('benchmark', 'mine', "data={'key': '(given)'}", 'inits.a=(given)')
    """
    settings = (f"{key}={_written(value)}" for key, value in without_paths(changes).items())
    return (verb, without_paths(recipe), *settings)


def without_paths(value: Any, key: str = "") -> Any:
    """Settings with `(given)` in place of every path, as paths may contain names, which reports must not show."""
    if isinstance(value, Mapping):
        return {name: without_paths(inner, _key(key, str(name), inner)) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner, key) for inner in value]
    if isinstance(value, PurePath):
        return "(given)"
    place = key in PLACES or (isinstance(value, str) and PATH.search(value))
    return "(given)" if place and value not in (None, "scratch") else value


def _key(group: str, name: str, value: Any) -> str:
    """The key under which `value` counts: below `inits` it is `init`, and an override `data.cache` is `cache`."""
    above, _, last = name.rpartition(".")
    return "init" if (above or group) == "inits" and not isinstance(value, Mapping) else last


def _written(value: Any) -> str:
    """A value as one writes it in a setting."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
