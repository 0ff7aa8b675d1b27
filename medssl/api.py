"""medssl from Python: each verb of the command line is a function with the same arguments that returns its result.

Nothing is printed (see `medssl.messages`), and wrong input raises `InputError` with the sentence that the command line
would show. Paths may be text, `pathlib.Path`, or a `Run`.
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

    from medssl.planning.plan import Plan
    from medssl.recipe import Changes, Listed, Options, PretrainRecipe, Source


__all__ = [
    "Run",
    "benchmark",
    "convert",
    "export_weights",
    "finetune",
    "list_recipes",
    "open_cache",
    "plan",
    "predict",
    "prepare",
    "pretrain",
    "preview",
    "scan",
    "write_report",
]


def plan(
    cache: Place,
    out: Place = "recipe.yaml",
    *,
    base: str | None = None,
    encoder: str = "auto",
    device: str = "auto",
    memory: float | None = None,
) -> Plan:
    """Write a pretraining recipe for a cache and a device, to edit: sizes, stages, batch and steps by stated rules.

    Args:
        cache: what `prepare` wrote.
        out: the recipe file to write.
        base: the recipe whose method, losses and optimizers are kept; by default the one with all three ideas.
        encoder: auto (that of the base), tiny, resnet or resenc.
        device: auto, cpu or cuda.
        memory: GiB to plan for; by default what the device has.

    Returns:
        The recipe as groups, one sentence for each choice, and the file.

    Raises:
        InputError: `out` is taken, the cache cannot be planned for, or nothing fits.
    """
    from medssl.planning.plan import plan as run

    return run(Path(cache), Path(out), base=base, encoder=encoder, device=device, gigabytes=memory)


def preview(recipe: Source, overrides: Changes = (), *, out: Place = "views.png", init: Place | None = None) -> Path:
    """Save a figure of the training views that a recipe produces.

    Args:
        recipe: name of a recipe (`list_recipes()`), a YAML file, or its groups as a dictionary.
        overrides: settings to change, as for `pretrain`.
        out: the image file to write.
        init: a run whose encoder makes heat maps, from which ContrastiveCrop takes its boxes.

    Returns:
        The path of the figure.

    Raises:
        InputError: the recipe or the data cannot be used, or `out` cannot be written.
    """
    from medssl.pretraining.preview import preview as run
    from medssl.runtime.known import load

    name = Path(recipe).stem if isinstance(recipe, str | os.PathLike) else "views"
    found, options = load("pretrain", recipe, merged(overrides, {} if init is None else {"init": init}))
    run(found, options, Path(out), name)
    return Path(out)


def pretrain(recipe: Source, overrides: Changes = (), **options: Unpack[RunOptions]) -> Run:
    """Pretrain an encoder (and decoder) without labels.

    Args:
        recipe: name of a recipe (`list_recipes()`), a YAML file, or its groups as a dictionary.
        overrides: settings to change: `{"train.steps": 500}`, or as on the command line, `["train.steps=500"]`.
        **options: run options (`RunOptions`); `out` is required, `resume=True` continues exactly.

    Returns:
        The run. (With `dry_run` or `overfit_check` nothing is written, and the run is empty.)

    Raises:
        InputError: the recipe, the data or an option cannot be used.
        Interrupted: a signal stopped the run after a checkpoint: `resume=True` continues it.
    """
    from medssl.planning import affordable
    from medssl.pretraining.loop import pretrain as run

    def start(found: PretrainRecipe, asked: Options) -> None:
        affordable.check(found, asked)
        run(found, asked)

    return run_verb("pretrain", start, recipe, overrides, options)


def finetune(recipe: Source, overrides: Changes = (), **options: Unpack[RunOptions]) -> Run:
    """Fine-tune for segmentation or classification from `init`, a run or "scratch".

    Args:
        recipe: as for `pretrain`.
        overrides: as for `pretrain`.
        **options: run options (`RunOptions`); `out` and `init` are required.

    Returns:
        The run; `run.results` has the test results.

    Raises:
        InputError: the recipe, the data, the initial weights or an option cannot be used.
        Interrupted: a signal stopped the run after a checkpoint: `resume=True` continues it.
    """
    from medssl.finetuning.loop import finetune as run

    return run_verb("finetune", run, recipe, overrides, options)


def benchmark(recipe: Source, overrides: Changes = (), **options: Unpack[RunOptions]) -> Run:
    """Fine-tune from several initial weights, with several label fractions and seeds, and compare the results.

    Args:
        recipe: as for `pretrain`.
        overrides: as for `pretrain`, for example `{"inits.pretrained": "runs/pretrain"}`.
        **options: run options (`RunOptions`); `out` is required, `resume=True` continues.

    Returns:
        The run; `run.summary` has the comparison.

    Raises:
        InputError: the recipe, the data, a run or an option cannot be used.
        Interrupted: a signal stopped a fine-tuning after a checkpoint: `resume=True` continues.
    """
    from medssl.benchmarking.loop import benchmark as run

    return run_verb("benchmark", run, recipe, overrides, options)


def predict(
    run: Place, inputs: Place | Sequence[Place], out: Place, *, device: str = "auto", seg: bool = False
) -> dict[str, str]:
    """Predict images with a fine-tuned network.

    Args:
        run: the run directory of a fine-tuning.
        inputs: one or more image files or folders, such as DICOM series.
        out: folder for the masks, on the grid of each image, predictions.csv with class probabilities, or
            candidates.csv with lesions.
        device: auto, cpu or cuda.
        seg: also write the lesions of DICOM series as DICOM SEG.

    Returns:
        The inputs that could not be used, each with the reason.

    Raises:
        InputError: `run` is not a fine-tuning, no input could be used, or `out` already contains results.
    """
    from medssl.finetuning.predict import predict as start

    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return start(Path(run), [Path(one) for one in given], Path(out), device=device, seg=seg)


def write_report(runs: Place | Sequence[Place], out: Place | None = None, *, pictures: bool = False) -> Path:
    """Write one HTML file about runs, with all figures inside.

    Args:
        runs: one or more run directories.
        out: the file to write; default: report.html in the last run.
        pictures: include pictures of real radiographs, in which burned-in text may name a patient.

    Returns:
        The path of the file.

    Raises:
        InputError: a folder is not a run directory, or `out` cannot be written.
    """
    from medssl.report import build

    given = [Path(run) for run in ([runs] if isinstance(runs, str | os.PathLike) else runs)]
    if not given:
        raise InputError("a report needs at least one run directory")
    return build(given, Path(out) if out is not None else given[-1] / "report.html", pictures=pictures)


def export_weights(run: Place, out: Place, *, to: str = "safetensors", **settings: Any) -> Path:
    """Write the weights of a run for other tools.

    Args:
        run: a run directory or checkpoint.
        out: the folder to write; it must be new or empty.
        to: the format (safetensors, huggingface, ...), or the dotted path of a module of your own.
        **settings: options of the format: the keyword arguments of its `export`.

    Returns:
        The folder.

    Raises:
        InputError: the format does not suit the run, `out` is not empty, or a setting is unknown.
    """
    from medssl.build.kinds import check
    from medssl.kinds import resolve

    export = resolve("export", to).export
    exported: Path = export(Path(run), Path(out), **check(export, settings, f"--to {to}", ("run", "out")))
    return exported


def list_recipes(verb: str | None = None) -> list[Listed]:
    """List the recipes that come with medssl.

    Args:
        verb: pretrain, finetune or benchmark; default: all.

    Returns:
        The verb, name and description of each recipe.

    Raises:
        InputError: there is no such verb.
    """
    from medssl.recipe import listed

    return listed(verb)
