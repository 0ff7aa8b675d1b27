"""`medssl recipes`: list the shipped recipes, show one, or print the JSON schema of all."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from medssl.recipe import FRAMES, find, listed, shipped, suggest
from medssl.recipe.auto import allowed
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.recipe import Listed

COLUMN = 36  # where the sentences begin


def recipes(action: str, name: str | None) -> None:
    """Print the list, one recipe as it is written, or the schema of every frame."""
    if action == "schema":
        print(json.dumps({verb: allowed(verb, frame.model_json_schema()) for verb, frame in FRAMES.items()}, indent=2))
    elif action == "list":
        width = max(COLUMN + 20, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 10_000
        for recipe in listed():
            print(_line(recipe, width))
    elif name is None:
        raise InputError("`medssl recipes show` needs a name: `medssl recipes` lists them")
    else:
        for path in _named(name):
            print(path.read_text(), end="")


def _named(name: str) -> list[Path]:
    """NAME may name a recipe of several verbs: all are shown; VERB/NAME names one."""
    verb, _, stem = name.rpartition("/")
    if verb:
        if verb not in FRAMES:
            raise InputError(f"there are no {verb} recipes{suggest(verb, FRAMES)}")
        return [find(verb, stem)]
    paths = [path for path in shipped() if path.stem == stem]
    if not paths:
        names = {path.stem for path in shipped()}
        raise InputError(f"no recipe is called '{name}'{suggest(name, names)}: `medssl recipes` lists them")
    return paths


def _line(recipe: Listed, width: int) -> str:
    """One recipe of the list; on a terminal its sentence is kept in a column of its own."""
    name = f"{recipe.verb}/{recipe.name}"
    return textwrap.fill(f"{name:<{COLUMN - 1}} {recipe.about}", width, subsequent_indent=" " * COLUMN)
