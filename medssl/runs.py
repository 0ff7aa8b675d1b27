"""A run as an object: the directory that a pretraining, fine-tuning or benchmark wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medssl.recipe import Changes, Source
    from medssl.report import runs


Place = str | os.PathLike[str]


class RunOptions(TypedDict, total=False):
    """How a run goes, beside its recipe: the run options of the command line, which explains them in --help."""

    out: Place
    init: Place
    init_parts: str | Sequence[str]
    resume: bool
    overwrite: bool
    overfit_check: bool
    dry_run: bool
    pictures: bool
    probe: Place
    probe_every: float | int | str
    device: Literal["auto", "cpu", "cuda"]
    devices: int
    num_nodes: int
    strategy: str


class Run:
    """A run directory, read as it is asked: what is there now, also while the run goes on.

    It may stand wherever medssl asks for a run, such as `init=`: it is a path (`os.PathLike`).

    Args:
        out: the run directory.

    Example:
        >>> run = Run("runs/pretrain")
        >>> run
        Run('runs/pretrain')
        >>> run.report.name
        'report.html'
    """

    def __init__(self, out: Place) -> None:
        self.out = Path(out)

    def __fspath__(self) -> str:
        return str(self.out)

    def __repr__(self) -> str:
        return f"Run({str(self.out)!r})"

    @property
    def verb(self) -> str:
        """What made it: pretrain, finetune or benchmark."""
        return self._read().verb

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with every default filled in."""
        return self._read().recipe

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One record per logged step: losses, learning rates, diagnostics. `pandas.DataFrame(run.metrics)` shows it."""
        return self._read().metrics

    @property
    def results(self) -> dict[str, Any] | None:
        """The test of a fine-tuning that is complete, else None."""
        return self._read().results

    @property
    def summary(self) -> list[dict[str, Any]]:
        """The comparison of a benchmark: one entry per task, fraction and init."""
        return self._read().summary

    @property
    def figures(self) -> list[Path]:
        """The pictures of a pretraining: its views, and what it restored."""
        return self._read().figures

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.out / "report.html"

    @property
    def checkpoint(self) -> Path:
        """The weights that count: the best of a fine-tuning, the last of a pretraining. Raises `InputError`."""
        from medssl.engine import checkpoint

        return checkpoint.find(self.out)

    def _read(self) -> runs.Run:
        from medssl.report import runs

        return runs.read(self.out)


def run_verb(
    verb: str, run: Callable[[Any, Any], Any], recipe: Source, overrides: Changes, given: Mapping[str, Any]
) -> Run:
    """Do what `run` does with the recipe and options that `verb` reads from what was given."""
    from medssl.runtime.known import load

    found, options = load(verb, recipe, merged(overrides, given))
    run(found, options)
    return Run(options.out or "")


def merged(overrides: Changes, options: Mapping[str, Any]) -> Changes:
    """Overrides with the options that were given as keywords, which win."""
    from medssl.recipe import changes

    return {**dict(changes(overrides)), **options}
