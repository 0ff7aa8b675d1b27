"""Read a run directory for the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from medssl.data.files import read_lines
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

VERBS = {"method": "pretrain", "task": "finetune", "inits": "benchmark"}  # a group that only recipes of this verb have
ENTRY = ("task", "fraction", "init", "score", "mean", "n")  # what a line of summary.json has


class Run(NamedTuple):
    """One run directory."""

    path: Path
    verb: str
    recipe: dict[str, Any]
    lock: dict[str, Any]  # manifest.lock: hash and counts of the data
    start: dict[str, Any]  # start.json: name of the recipe, command, date
    metrics: list[dict[str, Any]]
    results: dict[str, Any] | None  # results.json of a fine-tuning
    cells: list[dict[str, Any]]  # results.jsonl of a benchmark
    summary: list[dict[str, Any]]  # summary.json of a finished benchmark
    subgroups: list[dict[str, Any]]  # subgroups.json of it, if its table tells groups of patients apart
    figures: list[Path]


def read(path: Path) -> Run:
    """Read a run directory. Raises `InputError` if it is not one, or if a file in it is damaged."""
    if not (path / "recipe.yaml").is_file():
        raise InputError(f"{path} is not a run directory: it has no recipe.yaml")
    recipe = _object(path / "recipe.yaml", yaml.safe_load)
    results = _object(path / "results.json", json.loads, ("test",))
    if results is not None and "interval" not in _dictionary(path / "results.json", results["test"]):
        raise _damaged(path / "results.json", "it has no test.interval")
    return Run(
        path=path,
        verb=next((verb for group, verb in VERBS.items() if group in (recipe or {})), "unknown"),
        recipe=recipe or {},
        lock=_object(path / "manifest.lock", json.loads) or {},
        start=_object(path / "start.json", json.loads) or {},
        metrics=_lines(path / "metrics.jsonl", ("step",)),
        results=results,
        cells=_lines(path / "results.jsonl", ()),
        summary=_entries(path / "summary.json", ENTRY),
        subgroups=_entries(path / "subgroups.json", (*ENTRY, "attribute", "group", "patients")),
        figures=sorted((path / "figures").glob("*.png")),
    )


def _parsed(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise _damaged(path, " ".join(str(error).split())) from error


def _object(path: Path, parse: Callable[[str], Any], keys: Collection[str] = ()) -> dict[str, Any] | None:
    return _dictionary(path, _parsed(path, parse), keys) if path.is_file() else None


def _entries(path: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = _parsed(path, json.loads)
    if not isinstance(found, list):
        raise _damaged(path, "it is not a list")
    return [_dictionary(path, entry, keys) for entry in found]


def _lines(path: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    return [_dictionary(path, record, keys) for record in read_lines(path)]


def _dictionary(path: Path, value: Any, keys: Collection[str] = ()) -> dict[str, Any]:
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if not isinstance(value, dict) or missing:
        raise _damaged(path, f"it has no {missing[0]}" if missing else "it is not a group of keys")
    return value


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged ({why}): restore it from a backup, or leave this run out of the report")
