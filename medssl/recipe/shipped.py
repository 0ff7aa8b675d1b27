"""The recipes and weights that come with medssl: their folders, names and descriptions."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from medssl.messages import suggest
from medssl.recipe.frame import FRAMES
from medssl.types import InputError

SENTENCE = re.compile(r".*?\.(?=\s|$)")
NOTES = ("run:", "takes:", "expect:")  # lines of a header that follow its description


class Listed(NamedTuple):
    """A recipe of the list."""

    verb: str
    name: str
    about: str  # one sentence
    path: Path


def folder(name: str) -> Path:
    """Where `recipes` or `weights` lies: `_NAME` inside an installed package, NAME beside the package in a checkout."""
    package = Path(str(files("medssl")))
    inside = package / f"_{name}"
    return inside if inside.is_dir() else package.parent / name


def shipped(verb: str | None = None) -> list[Path]:
    """The recipes that come with medssl, of one verb or of all."""
    return sorted(folder("recipes").glob(f"{verb or '*'}/*.yaml"))


def listed(verb: str | None = None) -> list[Listed]:
    """The shipped recipes with a description of each. Raises `InputError` for a verb that has no recipes."""
    if verb is not None and verb not in FRAMES:
        raise InputError(f"there are no {verb} recipes{suggest(verb, FRAMES)}")
    return [Listed(path.parent.name, path.stem, about(path.read_text()), path) for path in shipped(verb)]


def about(text: str) -> str:
    r"""The first sentence of a recipe's header.

    >>> about("# Masked volumes,\n# restored. On a CPU.\n# run: medssl pretrain mine\nseed: 0")
    'Masked volumes, restored.'
    """
    lines = [line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    header = " ".join(takewhile(lambda line: not line.startswith(NOTES), lines))
    found = SENTENCE.match(header)
    return found[0] if found else header


def find(verb: str, name: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped recipe of that verb."""
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise InputError(f"recipe file {name} does not exist: `medssl recipes` lists the ones that come with medssl")
    names = {path.stem: path for path in shipped(verb)}
    if name not in names:
        raise InputError(f"there is no {verb} recipe '{name}'{suggest(name, names)}")
    return names[name]


def own_weights(name: str) -> Path:
    """The file of weights that come with medssl. Raises `InputError` where there are none of that name."""
    names = {path.parent.name: path for path in sorted(folder("weights").glob("*/model.safetensors"))}
    if name not in names:
        raise InputError(f"medssl comes with no weights called '{name}'{suggest(name, names)}")
    return names[name]
