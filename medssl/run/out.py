"""The run directory: who may write into it, and the files that say what the run was made of."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import medssl
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.data.cache import Cache
    from medssl.recipe import Options

# What a run writes. `overwrite=true` removes these alone, so that a slip in out= costs nothing else.
FILES = ("recipe.yaml", "manifest.lock", "metrics.jsonl", "train.log", "report.html", "results.json", "results.jsonl")
FOLDERS = ("checkpoints", "tb", "data", "figures")


def path(options: Options) -> Path:
    """The run directory asked for. Raises InputError if there is none."""
    if options.out is None:
        raise InputError("out is missing: say where the run goes, for example out=runs/first")
    return Path(options.out)


def claim(options: Options) -> Path:
    """Make the run directory ready, or refuse it; for the first rank alone, before others start.

    Raises InputError if it is not empty (unless resume=true or overwrite=true) or cannot be written to.
    """
    out = path(options)
    if options.resume and options.overwrite:
        raise InputError("resume=true and overwrite=true contradict each other: set one of them")
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
        if used and not (options.resume or options.overwrite):
            raise InputError(f"out={out} is not empty: resume=true continues that run, overwrite=true replaces it")
        if used and options.overwrite:
            _clear(out)
        probe = out / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"out={out} cannot be written to ({error.strerror}): choose another folder") from error
    return out


def _clear(out: Path) -> None:
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def describe(out: Path, recipe: Mapping[str, Any], cache: Cache, subsets: Mapping[str, Sequence[str]]) -> None:
    """Write recipe.yaml (every default filled) and manifest.lock (hash and counts of the data, versions)."""
    (out / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe), sort_keys=False))
    lock = {
        "cache": cache.hash,
        "cases": len(cache.cases),
        "patients": len(cache.patients),
        "subsets": {name: len(ids) for name, ids in subsets.items()},
        "left_out": cache.left_out,
        "radiographs": radiographs(recipe, cache),
        "versions": {"medssl": medssl.__version__} | {name: version(name) for name in ("torch", "monai", "numpy")},
    }
    (out / "manifest.lock").write_text(json.dumps(lock, indent=2) + "\n")


def radiographs(recipe: Mapping[str, Any], cache: Cache) -> bool:
    """Whether these are real images with text burned in, perhaps: what reports show only when asked to."""
    own = recipe["data"]["phantom"] is not None and recipe["data"]["cache"] is None
    return cache.preprocessing["preset"] in ("xray", "ultrasound") and not own


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """What differs between two recipes, as sentences `train.steps is 40, was 20`."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [*before, *(name for name in now if name not in before)]
        return [
            line
            for name in names
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if before == now else [f"{key} is {now!r}, was {before!r}"]
