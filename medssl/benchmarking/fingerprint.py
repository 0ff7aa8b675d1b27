"""Fingerprint of a benchmark run (settings, data, weights): a resumed benchmark refuses results of different inputs."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from medssl.data.arrays import file_digest
from medssl.data.files import write_json
from medssl.runtime import init_weights
from medssl.runtime.init_weights import SCRATCH
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from medssl.data.cache import Cache
    from medssl.recipe import FinetuneRecipe, Options

FILE = "cell.json"  # in the run directory of a cell, written before it starts
WORDS = {
    "hash": "the settings",
    "cache": "the content of the cache",
    "subset": "the cases to train, validate and test on",
    "init_from": "the weights it starts from",
    "init_parts": "init_parts",
}


def weights(starts: Iterable[str]) -> dict[str, str]:
    """A digest of the checkpoint that each `init=` names (`scratch` for scratch), as the file at a path may change."""
    return {start: SCRATCH if start == SCRATCH else _digest_of_file(start) for start in set(starts)}


def make(
    recipe: FinetuneRecipe, cache: Cache, ids: Mapping[str, Sequence[str]], init_from: str, options: Options
) -> dict[str, Any]:
    """Everything that decides the score of a cell, without paths; `ids` are its cases of train, val and test."""
    asked = None if init_from.endswith(f":{SCRATCH}") else options.init_parts
    subset = hashlib.sha256(json.dumps(sorted(ids.items())).encode()).hexdigest()[:16]
    return {
        "hash": recipe.hash(),
        "cache": cache.hash,
        "subset": subset,
        "init_from": init_from,
        "init_parts": [asked] if isinstance(asked, str) else asked,
    }


def check(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `InputError` if the cell `name` was run or started with other inputs than it would be now."""
    changed = [words for key, words in WORDS.items() if key not in before or before[key] != now[key]]
    if changed:
        raise InputError(
            f"run {name} was made with other values of {', '.join(changed)}: undo that change, or repeat all runs "
            "with overwrite=true or another out="
        )


def begun(folder: Path) -> dict[str, Any] | None:
    """The fingerprint in the run directory of a cell; empty for a run without one, None if it was not started."""
    if (folder / FILE).is_file():
        found: dict[str, Any] = json.loads((folder / FILE).read_text())
        return found
    return {} if (folder / "checkpoints").is_dir() else None


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the fingerprint into the run directory of a cell."""
    write_json(folder / FILE, dict(content))


def _digest_of_file(start: str) -> str:
    return file_digest(init_weights.find(start))[:16]
