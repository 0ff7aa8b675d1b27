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
    force: bool
    pictures: bool
    probe: Place
    probe_every: float | int | str
    device: Literal["auto", "cpu", "cuda"]
    devices: int
    num_nodes: int
    strategy: str


class Run:
    """A run directory. Each property reads its files again, so that it shows the current state of a run in progress.

    It is a path (`os.PathLike`), so it can be given wherever medssl needs a run, such as `init=`.

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
        """The verb that made it: pretrain, finetune or benchmark."""
        return self._read().verb

    @property
    def recipe(self) -> dict[str, Any]:
        """The complete recipe, with all defaults."""
        return self._read().recipe

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One record per logged step: losses, learning rates, diagnostics. See `pandas.DataFrame(run.metrics)`."""
        return self._read().metrics

    @property
    def results(self) -> dict[str, Any] | None:
        """The test results of a complete fine-tuning, else None."""
        return self._read().results

    @property
    def summary(self) -> list[dict[str, Any]]:
        """The comparison of a benchmark: one entry per task, fraction and init."""
        return self._read().summary

    @property
    def figures(self) -> list[Path]:
        """The figures of a pretraining: views and restorations."""
        return self._read().figures

    @property
    def report(self) -> Path:
        """Path of the HTML report."""
        return self.out / "report.html"

    @property
    def checkpoint(self) -> Path:
        """Path of the weights: the best of a fine-tuning, the last of a pretraining. Raises `InputError`."""
        from medssl.engine import checkpoint

        return checkpoint.find(self.out)

    def _read(self) -> runs.Run:
        from medssl.report import runs

        return runs.read(self.out)


def run_verb(
    verb: str, run: Callable[[Any, Any], Any], recipe: Source, overrides: Changes, given: Mapping[str, Any]
) -> Run:
    """Call `run` with the recipe and options of `verb`, read from what was given."""
    from medssl.report.parts import words
    from medssl.runtime import run_directory
    from medssl.runtime.known import load

    changed = merged(overrides, given)
    found, options = load(verb, recipe, changed)
    name = os.fspath(recipe) if isinstance(recipe, str | os.PathLike) else "(from Python)"
    token = run_directory.COMMAND.set(words(verb, name, changed))
    try:
        run(found, options)
    finally:
        run_directory.COMMAND.reset(token)
    return Run(options.out or "")


def merged(overrides: Changes, options: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides combined with the keyword options, which take precedence."""
    from medssl.recipe import changes

    return {**dict(changes(overrides)), **options}
