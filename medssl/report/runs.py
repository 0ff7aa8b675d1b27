"""What a run directory says about itself, read for the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from medssl.types import InputError

VERBS = {"method": "pretrain", "task": "finetune", "inits": "benchmark"}  # a group that only this verb's recipe has


class Run(NamedTuple):
    """One run directory."""

    path: Path
    verb: str
    recipe: dict[str, Any]
    lock: dict[str, Any]  # manifest.lock: hash and counts of the data
    metrics: list[dict[str, Any]]
    results: dict[str, Any] | None  # results.json of a fine-tuning
    cells: list[dict[str, Any]]  # results.jsonl of a benchmark
    figures: list[Path]


def read(path: Path) -> Run:
    """Read a run directory. Raises `InputError` if it is none."""
    if not (path / "recipe.yaml").is_file():
        raise InputError(f"{path} is not a run directory: it has no recipe.yaml")
    recipe = yaml.safe_load((path / "recipe.yaml").read_text())
    return Run(
        path=path,
        verb=next((verb for group, verb in VERBS.items() if group in recipe), "unknown"),
        recipe=recipe,
        lock=_json(path / "manifest.lock") or {},
        metrics=_lines(path / "metrics.jsonl"),
        results=_json(path / "results.json"),
        cells=_lines(path / "results.jsonl"),
        figures=sorted((path / "figures").glob("*.png")),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a jsonl file; a last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
