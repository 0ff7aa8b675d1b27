"""Recipes: flat YAML files, `key=value` overrides, and the frame that both must fit."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from medssl.recipe.epochs import ambiguous_times, in_steps
from medssl.recipe.frame import (
    FRAMES,
    AnyRecipe,
    BenchmarkRecipe,
    Data,
    FinetuneRecipe,
    Optimizer,
    Options,
    PretrainRecipe,
    Recipe,
    Train,
    suggest,
    validate,
)
from medssl.recipe.text import parse, put, split
from medssl.types import InputError

__all__ = [
    "FRAMES",
    "AnyRecipe",
    "BenchmarkRecipe",
    "Data",
    "FinetuneRecipe",
    "Optimizer",
    "Options",
    "PretrainRecipe",
    "Recipe",
    "Train",
    "find",
    "folder",
    "in_steps",
    "load",
    "parse",
    "put",
    "shipped",
    "split",
    "suggest",
    "validate",
]


def folder() -> Path:
    """Where the shipped recipes lie: in the repository, or in the data folder of the installed package."""
    beside = Path(__file__).parents[2] / "recipes"
    return beside if beside.is_dir() else Path(sysconfig.get_path("data")) / "share" / "medssl" / "recipes"


def shipped(verb: str | None = None) -> list[Path]:
    """The recipes that come with medssl, of one verb or of all."""
    return sorted(folder().glob(f"{verb or '*'}/*.yaml"))


def find(verb: str, name: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped recipe of that verb."""
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise InputError(f"recipe file {name} does not exist: `medssl recipes` lists the ones that come with medssl")
    names = {path.stem: path for path in shipped(verb)}
    if name not in names:
        raise InputError(f"no {verb} recipe is called '{name}'{suggest(name, names)}: `medssl recipes` lists them")
    return names[name]


def load(verb: str, name: str, overrides: list[str]) -> tuple[Any, Options]:
    """Read a recipe, apply `key.sub=value` overrides, and check both: the verb's recipe (see FRAMES) and run options.

    Raises `InputError` with one sentence that names the key, what was given and what would fit.
    """
    path = find(verb, name)
    try:
        content = parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"recipe {path} is not a text file: give a YAML file, or the name of a recipe") from error
    if not isinstance(content, dict):
        raise InputError(f"recipe {path} must hold groups such as `train:`, but it holds {content!r}")
    options: dict[str, Any] = {}
    for override in overrides:
        key, value = split(override)
        if key.split(".")[0] in Options.model_fields:
            options[key] = value
        else:
            put(content, key, value)
    return validate(FRAMES[verb], content, f"recipe {path.stem}"), validate(Options, options, "run options")
