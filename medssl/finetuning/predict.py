"""`medssl predict`: masks on the grid of the source, or classes with their probabilities, from files as they come."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from medssl.build import finetune_setup, kinds
from medssl.data import atomic, grid
from medssl.data.read import nifti, reader
from medssl.data.reject import Rejected
from medssl.engine import checkpoint
from medssl.messages import progress, say
from medssl.models import weights
from medssl.patches import network_input
from medssl.recipe import FinetuneRecipe, Options, validate
from medssl.runtime import launch
from medssl.runtime.sources import prepared, sources, why
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from medssl.runtime.sources import Source
    from medssl.tasks.task import Task

SOURCES = "sources.csv"
Line = tuple[str, str, str]  # name, class, probability


class Trained(NamedTuple):
    """A fine-tuned network and what it needs to know of an image."""

    task: Task
    model: nn.Module
    size: tuple[int, ...]
    channels: int
    preprocessing: dict[str, Any]


def predict(run: Path, inputs: Sequence[Path], out: Path, *, device: str = "auto") -> dict[str, str]:
    """Predict every image in `inputs` (files or folders) with the best weights of `run`; returns what was left out.

    Masks are `out/NAME.nii.gz`, those of pictures `out/NAME.png`, and classes `out/predictions.csv` (id, class,
    probability); NAME is the path of the image below the folder that was given, and `out/sources.csv` says which result
    (id) is whose. Nothing is overwritten. An input that cannot be used is named with its reason in `out/rejected.csv`
    and costs itself only. Raises `InputError` if none can be used, or where `out` holds results already.
    """
    fabric = launch.fabric(validate(Options, {"device": device}, "predict"), "32")
    trained = load(run)
    found, rejected = sources(inputs)
    module = fabric.setup_module(trained.model)
    module.eval()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written to ({error.strerror}): choose another folder") from error
    _refuse_to_overwrite(found, out, dense=trained.task.dense)
    lines: list[Line] = []
    done: list[Source] = []
    with progress() as show:
        for number, source in enumerate(found, 1):
            try:
                lines += _one(trained, module, source, out, fabric.device)
                done.append(source)
            except Rejected as error:
                rejected[str(source.files[0])] = why(error)
            show("predict", number, len(found))
    _report(out, lines, done, rejected, _folder(inputs))
    if not done:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(rejected.items())[:3])
        raise InputError(f"none of the inputs could be predicted ({reasons or 'the folders are empty'})")
    say(f"{len(done)} images predicted, {len(rejected)} inputs left out -> {out}")
    return rejected


def load(run: Path) -> Trained:
    """The network of a fine-tuning, with its best weights. Raises `InputError` if `run` is none."""
    content = checkpoint.load(checkpoint.find(run))
    if content.get("verb") != "finetune":
        made = content.get("verb", "another tool")
        raise InputError(f"{run} was made by {made}, but predict needs a fine-tuned network: run `medssl finetune`")
    recipe = validate(FinetuneRecipe, content["recipe"], f"the recipe in {run}")
    made = finetune_setup.plan(recipe)
    task: Task = kinds.make("task", recipe.task, {"spatial_dims": recipe.spatial_dims})
    model = finetune_setup.network(recipe, task)
    weights.load(model, content["weights"], ["all"], source=str(run))
    return Trained(task, model, made.augment.size, recipe.channels, content["preprocessing"])


@torch.no_grad()
def _one(trained: Trained, module: nn.Module, source: Source, out: Path, device: Any) -> list[Line]:
    """Predict one image: write its mask, or return its lines (id, class, probability)."""
    array, geometry = prepared(source.read(), trained.preprocessing, trained.channels)
    spacing = tuple(geometry["array"]["spacing"])
    x = network_input(array, geometry["intensity"], spacing, trained.size, trained.task.dense)
    probability = trained.task.predict(module, x.to(device), trained.size)[0].cpu()
    if trained.task.dense:
        _write_mask(out, probability.argmax(0).numpy().astype(np.uint8), geometry, source)
        return []
    values = zip(trained.task.classes, probability.tolist(), strict=True)
    return [(source.name, name, f"{value:.6f}") for name, value in values]


def _write_mask(out: Path, mask: np.ndarray, geometry: dict[str, Any], source: Source) -> None:
    """The mask on the grid of its source: as PNG for a picture, as NIfTI of the same shape for all else."""
    volume = grid.to_source(mask, geometry)
    kind = "dicom" if source.frames else reader.kind(source.files[0])
    flat = volume.array.ndim == 3
    with atomic.writing(out / f"{source.name}{'.png' if flat and kind != 'nifti' else '.nii.gz'}") as beside:
        if flat and kind != "nifti":
            Image.fromarray(volume.array[0]).save(beside)
        elif flat:
            nifti.write_slice_like(beside, volume.array[0], source.files[0])
        else:
            nifti.write(beside, volume.array[0], volume.affine)


def _refuse_to_overwrite(found: Sequence[Source], out: Path, *, dense: bool) -> None:
    own = {file.resolve() for source in found for file in source.files}
    for source in found if dense else ():
        for file in (out / f"{source.name}.nii.gz", out / f"{source.name}.png"):
            if file.resolve() in own:
                raise InputError(f"the mask of {file} would replace the image itself: choose another --out")
            if file.exists():
                raise InputError(f"{file} exists, and predict overwrites nothing: choose another --out")
    for file in (out / SOURCES, out / "predictions.csv"):
        if file.exists():
            raise InputError(f"{out} holds results already ({file.name}): choose another --out")


def _folder(inputs: Sequence[Path]) -> Path:
    """The deepest folder that holds all inputs: tables name files below it, since a path may tell who a patient is."""
    folders = [given.resolve() if given.is_dir() else given.resolve().parent for given in inputs]
    return Path(os.path.commonpath(folders))


def _report(out: Path, lines: list[Line], done: list[Source], rejected: dict[str, str], root: Path) -> None:
    def below(file: str | Path) -> str:
        return Path(os.path.relpath(Path(file).resolve(), root)).as_posix()

    if lines:
        _write_table(out / "predictions.csv", ("id", "class", "probability"), lines)
    if done:
        _write_table(out / SOURCES, ("id", "source"), ((one.name, below(one.files[0])) for one in done))
    if rejected:
        rows = [(below(file), reason) for file, reason in rejected.items()]
        _write_table(out / "rejected.csv", ("source", "reason"), rows)
    for source, reason in rejected.items():
        say(f"left out: {source}: {reason}")


def _write_table(path: Path, head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])
