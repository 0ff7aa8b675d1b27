"""The parts of a section of the page: tables and pictures."""

from __future__ import annotations

import base64
import math
import re
from typing import Any, NamedTuple

NUMBER = re.compile(r"-$|[+-]?\d[\d.e+-]*( to [+-]?\d[\d.e+-]*|%| MiB)?$")

PLACES = ("cache", "manifest", "splits", "init")  # keys of a recipe that name files
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


def no_path(word: str) -> str:
    """A word of a command line; where it names a file, that it was given.

    >>> no_path("train.steps=5"), no_path("data.cache=jane"), no_path("init=scratch"), no_path("/data/my.yaml")
    ('train.steps=5', 'data.cache=(given)', 'init=scratch', '(given)')
    """
    key, sign, value = word.rpartition("=")
    names_file = key.rpartition(".")[2] in (*PLACES, "out", "probe") and value not in ("scratch", "null")
    return f"{key}{sign}(given)" if names_file or PATH.search(value) else word
