"""`medssl predict`: masks on the grid of the source, or class probabilities, for image files in any format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from medssl.build import finetune_setup
from medssl.data import files, grid
from medssl.data.read import nifti, reader
from medssl.data.reject import Rejected
from medssl.engine import checkpoint
from medssl.finetuning import dicom_seg, findings
from medssl.messages import progress, say
from medssl.patches import network_input
from medssl.recipe import FinetuneRecipe, Options, validate
from medssl.runtime import launch
from medssl.runtime.sources import prepared, sources, why
from medssl.tasks.task import LesionTask
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from medssl.runtime.sources import Source
    from medssl.tasks.task import Task

SOURCES, CANDIDATES = "sources.csv", "candidates.csv"
Line = tuple[str, str, str]  # name, class, probability


class Trained(NamedTuple):
    """A fine-tuned network, and how images are prepared for it."""

    task: Task
    model: nn.Module
    size: tuple[int, ...]
    channels: int
    preprocessing: dict[str, Any]


def predict(run: Path, inputs: Sequence[Path], out: Path, *, device: str = "auto", seg: bool = False) -> dict[str, str]:
    """Predict every image in `inputs` (files or folders) with the best weights of `run`; returns what was skipped.

    Masks are `out/NAME.nii.gz`, or `out/NAME.png` for PNG, JPEG and TIFF; classes are in `out/predictions.csv` (id,
    class, probability). NAME is the path of the image below the given folder; `out/sources.csv` says which file an id
    is of. A network that finds lesions writes `out/candidates.csv`, masks in which each reported lesion has its number,
    `out/NAME.overlay.png`, and with `seg` DICOM SEG `out/NAME.seg.dcm`. `out/rejected.csv` lists unusable inputs, with
    the reason. Raises `InputError` if no input can be used, or if `out` already contains results.
    """
    if seg:
        dicom_seg.needed()
    fabric = launch.fabric(validate(Options, {"device": device}, "predict"), "32")
    trained = load(run)
    found, rejected = sources(inputs)
    module = fabric.setup_module(trained.model)
    module.eval()
    with files.writable(f"--out {out}", advice="choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
    _refuse_to_overwrite(found, out, masks=trained.task.dense or isinstance(trained.task, LesionTask))
    lines: list[Line] = []
    lesions: list[tuple[str, ...]] = []
    done: list[Source] = []
    with progress() as show:
        for number, source in enumerate(found, 1):
            try:
                seen = _seen(trained, module, source, fabric.device)
                lesions += _lesions(trained.task, seen, source, out, seg=seg)
                lines += _classes(trained.task, seen, source, out)
                done.append(source)
            except Rejected as error:
                rejected[str(source.files[0])] = why(error)
            show("predict", number, len(found))
    _report(out, lines, done, rejected, _folder(inputs))
    if isinstance(trained.task, LesionTask) and done:
        files.write_csv(out / CANDIDATES, findings.HEAD, lesions)
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
    task, model, size = finetune_setup.trained(recipe, content["weights"], str(run))
    return Trained(task, model, size, recipe.channels, content["preprocessing"])


class Seen(NamedTuple):
    """One image, and what the network says of it."""

    image: findings.Prepared
    prediction: Any


@torch.no_grad()
def _seen(trained: Trained, module: nn.Module, source: Source, device: Any) -> Seen:
    """Predict one image. Raises `Rejected`."""
    array, geometry = prepared(source.read(), trained.preprocessing, trained.channels)
    spacing = tuple(geometry["array"]["spacing"])
    x = network_input(array, geometry["intensity"], spacing, trained.size, trained.task.dense)
    found = trained.task.predict(module, x.to(device), trained.size)[0].cpu()
    return Seen(findings.Prepared(array, geometry), found)


def _classes(task: Task, seen: Seen, source: Source, out: Path) -> list[Line]:
    """Write the mask of a segmentation; the lines (id, class, probability) of a classifier."""
    if isinstance(task, LesionTask) and task.dense:
        return []
    if task.dense:
        mask = task.mask(seen.prediction) if hasattr(task, "mask") else seen.prediction.argmax(0).numpy()
        _write_mask(out, mask.astype(np.uint8), seen.image.geometry, source)
        return []
    said = seen.prediction  # probabilities (K,), or what a task of its own takes them from
    probability = task.probability(said) if hasattr(task, "probability") else said
    values = zip(task.classes, probability.tolist(), strict=True)
    return [(source.name, name, f"{value:.6f}") for name, value in values]


def _lesions(task: Task, seen: Seen, source: Source, out: Path, *, seg: bool) -> list[tuple[str, ...]]:
    """Write what a task that looks for lesions found in one image; returns its lines of candidates.csv, best first."""
    if not isinstance(task, LesionTask):
        return []
    image, shape = seen.image, seen.image.array.shape[1:]
    found = sorted(task.candidates(seen.prediction, shape), key=lambda one: -one.score)
    mask = findings.mask(found, task.reporting, shape)
    _write_mask(out, mask, image.geometry, source)
    findings.picture(out / f"{source.name}.overlay.png", image, found, task.reporting)
    if seg and mask.any() and reader.kind(source.files[0]) == "dicom" and not source.frames:
        dicom_seg.write(
            out / f"{source.name}.seg.dcm", source.files, grid.to_source(mask, image.geometry).array[0], found
        )
    return findings.lines(source.name, found, task.reporting, image.geometry)


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


def _refuse_to_overwrite(found: Sequence[Source], out: Path, *, masks: bool) -> None:
    own = {file.resolve() for source in found for file in source.files}
    for source in found if masks else ():
        for file in (out / f"{source.name}{end}" for end in (".nii.gz", ".png", ".overlay.png", ".seg.dcm")):
            if file.resolve() in own:
                raise InputError(f"the mask of {file} would replace the image itself: choose another --out")
            if file.exists():
                raise InputError(f"{file} exists and is not overwritten: choose another --out")
    for file in (out / SOURCES, out / "predictions.csv", out / CANDIDATES):
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
