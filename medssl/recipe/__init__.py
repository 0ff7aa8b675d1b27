"""Recipes: YAML files of settings, `key=value` overrides, and the checks that both must pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from medssl.messages import warn
from medssl.recipe.auto import Known, settle
from medssl.recipe.epochs import ambiguous_times, in_steps
from medssl.recipe.frame import (
    FRAMES,
    AnyRecipe,
    BenchmarkRecipe,
    Data,
    FinetuneRecipe,
    Optimizer,
    PretrainRecipe,
    Recipe,
    Train,
    validate,
)
from medssl.recipe.options import Options, options_help
from medssl.recipe.shipped import Listed, find, listed, shipped
from medssl.recipe.text import parse, plain_values, put, split
from medssl.types import InputError

Source = str | os.PathLike[str] | Mapping[str, Any]  # of a recipe
Changes = Sequence[str] | Mapping[str, Any]  # to it
Know = Callable[[str, dict[str, Any], Options], Known]  # of a verb's recipe as it is written, and the run options

__all__ = [
    "FRAMES",
    "AnyRecipe",
    "BenchmarkRecipe",
    "Changes",
    "Data",
    "FinetuneRecipe",
    "Listed",
    "Optimizer",
    "Options",
    "PretrainRecipe",
    "Recipe",
    "Source",
    "Train",
    "changes",
    "find",
    "in_steps",
    "listed",
    "load",
    "options_help",
    "parse",
    "put",
    "read",
    "shipped",
    "split",
    "validate",
]


def _nothing(verb: str, content: dict[str, Any], options: Options) -> Known:
    return Known()


def load(verb: str, recipe: Source, overrides: Changes = (), know: Know = _nothing) -> tuple[Any, Options]:
    """Read a recipe, apply overrides and check the result: returns the recipe (see FRAMES) and the run options.

    Args:
        verb: "pretrain", "finetune" or "benchmark".
        recipe: name of a shipped recipe, a file, or the groups of a recipe as a dictionary.
        overrides: texts `key.sub=value`, or a dictionary of keys and values.
        know: a function that returns what is known about the keys left to `auto`.

    Raises InputError with one sentence that names the key, the value given and what would be valid.

    >>> recipe, options = load("pretrain", "phantom_tiny", ["train.steps=20", "out=runs/test"])
    >>> recipe.train.steps, options.out
    (20, 'runs/test')
    """
    where, content = read(verb, recipe)
    options: dict[str, Any] = {}
    for key, value in changes(overrides):
        if key.split(".")[0] in Options.model_fields:
            options[key] = value
        else:
            put(content, key, value)
    asked = _told_apart(validate(Options, options, "run options"), verb)
    if verb != "benchmark":
        content = settle(verb, content, know(verb, content, asked))
    found = validate(FRAMES[verb], content, where)
    for key in ambiguous_times(content) if verb != "benchmark" else ():
        _warn(f"{key}=1.0 means the whole run: write '100%' for that, and '1 step' (or 1) for one step")
    return found, asked


def read(verb: str, recipe: Source) -> tuple[str, dict[str, Any]]:
    """The name of a recipe for error messages, and its groups as written. Raises `InputError`."""
    if not isinstance(recipe, str | os.PathLike):
        return "the recipe", plain_values(recipe)
    path = find(verb, os.fspath(recipe))
    try:
        content = parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"recipe {path} is not a text file: give a YAML file, or the name of a recipe") from error
    if not isinstance(content, dict):
        raise InputError(f"recipe {path} must hold groups such as `train:`, but it holds {content!r}")
    return f"recipe {path.stem}", content


def changes(overrides: Changes) -> list[tuple[str, Any]]:
    """Overrides as pairs of key and value. Raises `InputError`."""
    if isinstance(overrides, Mapping):
        return [(key, plain_values(value)) for key, value in overrides.items()]
    if isinstance(overrides, str):
        raise InputError(f"overrides must be a list of key=value or a dictionary, but {overrides!r} is text")
    return [split(override) for override in overrides]


def _told_apart(options: Options, verb: str) -> Options:
    """Replace `check`, the old name of two options, by the new name."""
    if options.overfit_check and verb != "pretrain":
        raise InputError(f"overfit_check belongs to `medssl pretrain`: dry_run=true checks a {verb} recipe")
    if not options.check:
        return options
    name = "overfit_check" if verb == "pretrain" else "dry_run"
    _warn(f"check=true is now called {name}=true")
    return options.model_copy(update={"check": False, name: True})


@cache
def _warn(sentence: str) -> None:
    """Warn once only: a benchmark reads its recipes many times."""
    warn(f"warning: {sentence}")
