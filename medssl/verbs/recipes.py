"""`medssl recipes`: list the shipped recipes, show one, or print the JSON schema of all."""

from __future__ import annotations

import json
from pathlib import Path

from medssl.recipe import FRAMES, find, shipped, suggest
from medssl.types import InputError


def recipes(action: str, name: str | None) -> None:
    """Print the list, one recipe as it is written, or the schema of every frame."""
    if action == "schema":
        print(json.dumps({verb: frame.model_json_schema() for verb, frame in FRAMES.items()}, indent=2))
    elif action == "list":
        for path in shipped():
            print(f"{path.parent.name}/{path.stem:<24} {_first_comment(path)}")
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


def _first_comment(path: Path) -> str:
    line = path.read_text().splitlines()[0]
    return line.removeprefix("#").strip()
