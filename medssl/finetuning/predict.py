"""`medssl predict`: masks on the grid of the source, or class probabilities, for image files in any format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from medssl.build import finetune_setup, kinds
from medssl.data import files, grid
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
    from collections.abc import Sequence

    from torch import nn

    from medssl.runtime.sources import Source
    from medssl.tasks.task import Task

SOURCES = "sources.csv"
Line = tuple[str, str, str]  # name, class, probability


class Trained(NamedTuple):
    """A fine-tuned network, and how images are prepared for it."""

    task: Task
    model: nn.Module
    size: tuple[int, ...]
    channels: int
    preprocessing: dict[str, Any]


def predict(run: Path, inputs: Sequence[Path], out: Path, *, device: str = "auto") -> dict[str, str]:
    """Predict every image in `inputs` (files or folders) with the best weights of `run`; returns what was skipped.

    Masks are `out/NAME.nii.gz`, or `out/NAME.png` for PNG, JPEG and TIFF; classes are in `out/predictions.csv` (id,
    class, probability). NAME is the path of the image below the given folder; `out/sources.csv` says which result (id)
    belongs to which file. Nothing is overwritten. Inputs that cannot be used are listed in `out/rejected.csv` with the
    reason. Raises `InputError` if none can be used, or if `out` already contains results.
    """
    fabric = launch.fabric(validate(Options, {"device": device}, "predict"), "32")
    trained = load(run)
    found, rejected = sources(inputs)
    module = fabric.setup_module(trained.model)
    module.eval()
    with files.writable(f"--out {out}", advice="choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
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
        raise InputError(f"none of the inputs could be predicted: {reasons or 'the folders are empty'}")
    say(f"{len(done)} images predicted, {len(rejected)} inputs skipped -> {out}")
    return rejected


def load(run: Path) -> Trained:
    """The network of a fine-tuning, with its best weights. Raises `InputError` if `run` is not a fine-tuning."""
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
    """Write the mask on the grid of its source: as PNG for 2D image files, else as NIfTI of the same shape."""
    volume = grid.to_source(mask, geometry)
    kind = "dicom" if source.frames else reader.kind(source.files[0])
    flat = volume.array.ndim == 3
    with files.writing(out / f"{source.name}{'.png' if flat and kind != 'nifti' else '.nii.gz'}") as beside:
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
                raise InputError(f"{file} exists and is not overwritten: choose another --out")
    for file in (out / SOURCES, out / "predictions.csv"):
        if file.exists():
            raise InputError(f"{out} already contains results ({file.name}): choose another --out")


def _folder(inputs: Sequence[Path]) -> Path:
    """The deepest folder that contains all inputs: tables name files below it, as full paths may identify patients."""
    folders = [given.resolve() if given.is_dir() else given.resolve().parent for given in inputs]
    return Path(os.path.commonpath(folders))


def _report(out: Path, lines: list[Line], done: list[Source], rejected: dict[str, str], root: Path) -> None:
    def below(file: str | Path) -> str:
        return Path(os.path.relpath(Path(file).resolve(), root)).as_posix()

    if lines:
        files.write_csv(out / "predictions.csv", ("id", "class", "probability"), lines)
    if done:
        files.write_csv(out / SOURCES, ("id", "source"), ((one.name, below(one.files[0])) for one in done))
    if rejected:
        rows = [(below(file), reason) for file, reason in rejected.items()]
        files.write_csv(out / "rejected.csv", ("source", "reason"), rows)
    for source, reason in rejected.items():
        say(f"skipped {source}: {reason}")
