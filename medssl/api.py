"""medssl from Python: each verb of the command line is a function with the same words, which returns what it made.

Nothing is printed (see `medssl.messages`), and what cannot work raises `InputError` with the sentence that the command
line would show. Paths may be text, `pathlib.Path`, or a `Run`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.api_data import convert, open_cache, prepare, scan
from medssl.runs import Place, Run, RunOptions, merged, run_verb
from medssl.types import InputError

if TYPE_CHECKING:
    from typing import Unpack

    from medssl.recipe import Changes, Listed, Source


__all__ = [
    "Run",
    "benchmark",
    "convert",
    "export_weights",
    "finetune",
    "list_recipes",
    "open_cache",
    "predict",
    "prepare",
    "pretrain",
    "preview",
    "scan",
    "write_report",
]


def preview(recipe: Source, overrides: Changes = (), *, out: Place = "views.png", init: Place | None = None) -> Path:
    """Save a figure of the training views that a recipe produces, with heat maps if `init` names a run."""
    from medssl.pretraining.preview import preview as run
    from medssl.runtime.known import load

    name = Path(recipe).stem if isinstance(recipe, str | os.PathLike) else "views"
    found, options = load("pretrain", recipe, merged(overrides, {} if init is None else {"init": init}))
    run(found, options, Path(out), name)
    return Path(out)


def pretrain(recipe: Source, overrides: Changes = (), **options: Unpack[RunOptions]) -> Run:
    """Pretrain an encoder (and decoder) without labels.

    Args:
        recipe: name of a shipped recipe (`list_recipes()`), a YAML file, or its groups as a dictionary.
        overrides: keys to change, `{"train.steps": 500}`, or words as on the command line, `["train.steps=500"]`.
        **options: run options (`RunOptions`); `out` is required, `resume=True` continues exactly.

    Returns:
        The run; with `dry_run` or `overfit_check`, which write nothing, an empty one.

    Raises:
        InputError: the recipe, the data or an option does not work.
        Interrupted: a signal stopped the run after a checkpoint; `resume=True` continues it.
    """
    from medssl.pretraining.loop import pretrain as run

    return run_verb("pretrain", run, recipe, overrides, options)


def finetune(recipe: Source, overrides: Changes = (), **options: Unpack[RunOptions]) -> Run:
    """Fine-tune for segmentation or classification from `init`, a run or "scratch"; arguments as for `pretrain`.

    Its test is in `run.results`.
    """
    from medssl.finetuning.loop import finetune as run

    return run_verb("finetune", run, recipe, overrides, options)


def benchmark(recipe: Source, overrides: Changes = (), **options: Unpack[RunOptions]) -> Run:
    """Fine-tune from several inits, with several label fractions and seeds, and compare; arguments as for `pretrain`.

    The comparison is in `run.summary`.
    """
    from medssl.benchmarking.loop import benchmark as run

    return run_verb("benchmark", run, recipe, overrides, options)


def predict(run: Place, inputs: Place | Sequence[Place], out: Place, *, device: str = "auto") -> dict[str, str]:
    """Predict images with a fine-tuned network: masks on the grid of the source, or predictions.csv for classes.

    Returns the inputs that were left out, with the reasons. Raises `InputError` if none could be used.
    """
    from medssl.finetuning.predict import predict as start

    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return start(Path(run), [Path(one) for one in given], Path(out), device=device)


def write_report(runs: Place | Sequence[Place], out: Place | None = None, *, pictures: bool = False) -> Path:
    """Write one self-contained HTML file about runs, by default report.html in the last of them; returns its path.

    `pictures` shows real radiographs, in which burned-in text may name a patient.
    """
    from medssl.report import build

    given = [Path(run) for run in ([runs] if isinstance(runs, str | os.PathLike) else runs)]
    if not given:
        raise InputError("a report needs at least one run directory")
    return build(given, Path(out) if out is not None else given[-1] / "report.html", pictures=pictures)


def export_weights(run: Place, out: Place, *, to: str = "safetensors", **settings: Any) -> Path:
    """Write the weights of a run for other tools into the folder `out`; returns it.

    Args:
        run: a run directory or checkpoint.
        out: a new folder.
        to: the format, a module of `medssl.export` (safetensors, huggingface, ...) or one of your own.
        **settings: what the format may be told: the keyword arguments of its `export`.

    Raises:
        InputError: the format does not fit the run, `out` is taken, or a setting is unknown.
    """
    from medssl.build.kinds import check
    from medssl.kinds import resolve

    export = resolve("export", to).export
    exported: Path = export(Path(run), Path(out), **check(export, settings, f"--to {to}", ("run", "out")))
    return exported


def list_recipes(verb: str | None = None) -> list[Listed]:
    """The recipes that come with medssl, of one verb (pretrain, finetune, benchmark) or of all."""
    from medssl.recipe import listed

    return listed(verb)
