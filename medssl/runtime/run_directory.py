"""The run directory: who may write into it, and the files that describe the run."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import medssl
from medssl.data.files import writable
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medssl.data.cache import Cache
    from medssl.recipe import Options

# The files of a run: `overwrite=true` replaces only these, so that a wrong out= costs nothing else.
WRITTEN = (
    "recipe.yaml manifest.lock start.json metrics.jsonl train.log report.html results.json predictions.csv "
    "results.jsonl summary.json subgroups.json splits_*.json checkpoints tb figures runs data"
).split()
DESCRIBED = "recipe.yaml"  # written once the run has begun
COMMAND: ContextVar[tuple[str, ...]] = ContextVar("command", default=())  # words without paths, set by the verb
REPLACED = ".replaced"  # keeps the replaced run until the new one has started


def path(options: Options) -> Path:
    """The run directory that out= names. Raises InputError if there is none."""
    if options.out is None:
        raise InputError("out is missing: say where the run goes, for example out=runs/first")
    return Path(options.out)


def claim(options: Options) -> Path:
    """Prepare the run directory, or refuse it; rank 0 calls this before the others start.

    Raises InputError if it is not empty (unless resume=true or overwrite=true) or cannot be written to.
    """
    out = path(options)
    if options.resume and options.overwrite:
        raise InputError("resume=true and overwrite=true contradict each other: set one of them")
    with writable(f"out={out}", advice="choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
        if used and not (options.resume or options.overwrite):
            raise InputError(f"out={out} is not empty: resume=true continues that run, overwrite=true replaces it")
        if used and options.overwrite:
            _set_aside(out)
        probe = out / ".probe"
        probe.touch()
        probe.unlink()
    return out


@contextmanager
def replacing(options: Options) -> Iterator[None]:
    """Restore the previous run directory if start-up fails within this context, and remove the files of the new run."""
    out = Path(options.out or ".")
    there, empty = out.is_dir(), not (out.is_dir() and any(out.iterdir()))
    try:
        yield
    except Exception:
        aside = out / REPLACED
        if options.out and empty and not (out / DESCRIBED).is_file():
            for entry in out.glob("*"):
                _remove(entry)
            if not there:
                shutil.rmtree(out, ignore_errors=True)
        if aside.is_dir():
            for entry in _own(aside.parent):
                _remove(entry)
            for entry in aside.iterdir():
                entry.rename(aside.parent / entry.name)
            aside.rmdir()
        raise


def settle(out: Path) -> None:
    """Delete the replaced run once the new one has started."""
    shutil.rmtree(out / REPLACED, ignore_errors=True)


def _set_aside(out: Path) -> None:
    own = _own(out)
    if {entry.name for entry in out.iterdir()} - {entry.name for entry in own} and not (out / DESCRIBED).is_file():
        raise InputError(
            f"out={out} holds files that no run wrote, so overwrite=true does not touch it: choose another"
        )
    aside = out / REPLACED
    if aside.is_dir():  # left by a start that was killed: it holds the run to keep
        for entry in own:
            _remove(entry)
        return
    aside.mkdir()
    for entry in own:
        entry.rename(aside / entry.name)


def _own(out: Path) -> list[Path]:
    """The files of a run in `out`; a folder `data` counts only if it is a cache that the run made for itself."""
    found = [entry for name in WRITTEN for entry in out.glob(name)]
    return [entry for entry in found if entry.name != "data" or (entry / "cache" / "cache.json").is_file()]


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)  # another rank may be deleting it too
    else:
        entry.unlink(missing_ok=True)


def describe(out: Path, recipe: Mapping[str, Any], cache: Cache, subsets: Mapping[str, Sequence[str]]) -> None:
    """Write recipe.yaml (all defaults filled in), manifest.lock (hash and counts of the data, versions) and start.json.

    start.json holds the command and its date; recipe.yaml alone holds paths.
    """
    (out / DESCRIBED).write_text(yaml.safe_dump(dict(recipe), sort_keys=False))
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
    words = COMMAND.get()
    start = {"recipe": words[1] if words else None, "command": list(words), "begun": f"{datetime.now():%Y-%m-%d %H:%M}"}
    (out / "start.json").write_text(json.dumps(start, indent=2) + "\n")
    settle(out)


def radiographs(recipe: Mapping[str, Any], cache: Cache) -> bool:
    """Whether these are real radiographs, which may have burned-in text: reports show them only on request."""
    data = recipe["data"]
    made = data["phantom"] is not None and data["cache"] is None and data["manifest"] is None
    preset, dims = cache.preprocessing["preset"], cache.preprocessing["spatial_dims"]
    return not made and (preset in ("xray", "ultrasound") or (dims == 2 and preset != "pathology"))


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """The differences of two recipes, as sentences such as `train.steps is 40, was 20`."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [*before, *(name for name in now if name not in before)]
        return [
            line
            for name in names
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if before == now else [f"{key} is {now!r}, was {before!r}"]
