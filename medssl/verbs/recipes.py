"""`medssl recipes`: list the recipes, show one, or print their JSON schema."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from medssl.messages import suggest
from medssl.recipe import FRAMES, find, listed, shipped
from medssl.recipe.auto import allowed
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.recipe import Listed

COLUMN = 36  # where the descriptions begin


def recipes(action: str, name: str | None) -> None:
    """Print the list, one recipe as it is written, or the JSON schema."""
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
    """The recipes called NAME, perhaps of several verbs; VERB/NAME is a single one."""
    verb, _, stem = name.rpartition("/")
    if verb:
        if verb not in FRAMES:
            raise InputError(f"there are no {verb} recipes{suggest(verb, FRAMES)}")
        return [find(verb, stem)]
    paths = [path for path in shipped() if path.stem == stem]
    if not paths:
        names = {path.stem for path in shipped()}
        raise InputError(f"there is no recipe '{name}'{suggest(name, names)}")
    return paths


def _line(recipe: Listed, width: int) -> str:
    """One recipe of the list; on a terminal, its description stays in a column of its own."""
    name = f"{recipe.verb}/{recipe.name}"
    return textwrap.fill(f"{name:<{COLUMN - 1}} {recipe.about}", width, subsequent_indent=" " * COLUMN)
