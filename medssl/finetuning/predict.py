"""`medssl predict`: masks on the grid of the source, or classes with their probabilities, from files as they come."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from medssl.build import finetune_setup, kinds
from medssl.data import atomic, grid
from medssl.data.read import dicom, nifti, reader
from medssl.data.reject import Rejected
from medssl.data.split import stem_of
from medssl.engine import checkpoint
from medssl.engine.progress import progress
from medssl.models import weights
from medssl.patches import network_input
from medssl.recipe import FinetuneRecipe, Options, validate
from medssl.runtime import launch
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from medssl.data.read.volume import Volume
    from medssl.tasks.task import Task

Line = tuple[str, str, str]  # name, class, probability
HIDDEN = "."  # files of operating systems and of partial writes start with it


class Trained(NamedTuple):
    """A fine-tuned network and what it needs to know of an image."""

    task: Task
    model: nn.Module
    size: tuple[int, ...]
    channels: int
    preprocessing: dict[str, Any]


class Source(NamedTuple):
    """One image to predict: a file, or the files of one DICOM image."""

    name: str
    files: list[Path]
    frames: list[tuple[int, int]] | None

    def read(self) -> Volume:
        """The image as it is stored. Raises `Rejected`."""
        if reader.kind(self.files[0]) == "dicom":
            return dicom.read(self.files, self.frames)
        return reader.read(self.files[0])


def predict(run: Path, inputs: Sequence[Path], out: Path, *, device: str = "auto") -> dict[str, str]:
    """Predict every image in `inputs` (files or folders) with the best weights of `run`; returns what was left out.

    Masks are `out/NAME.nii.gz`, classes `out/predictions.csv` (id, class, probability). An input that cannot be used
    is named with its reason in `out/rejected.csv` and costs itself only. Raises `InputError` if none can be used.
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
    lines: list[Line] = []
    done = 0
    with progress() as show:
        for number, source in enumerate(found, 1):
            try:
                lines += _one(trained, module, source, out, fabric.device)
                done += 1
            except Rejected as error:
                rejected[str(source.files[0])] = f"{error.reason} ({error.detail})" if error.detail else error.reason
            show("predict", number, len(found))
    _report(out, lines, rejected)
    if not done:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(rejected.items())[:3])
        raise InputError(f"none of the inputs could be predicted ({reasons or 'the folders are empty'})")
    print(f"{done} images predicted, {len(rejected)} inputs left out -> {out}")
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


def sources(inputs: Iterable[Path]) -> tuple[list[Source], dict[str, str]]:
    """The images in files and folders, each with a name of its own; and the files that are none, with the reason.

    A file gives its stem as name, a DICOM image its folder's name, numbered where a folder holds several.
    """
    pictures: list[Source] = []
    headers: list[Path] = []
    rejected: dict[str, str] = {}
    for path in inputs:
        if not path.exists():
            rejected[str(path)] = "does not exist"
        for file in _files(path):
            if reader.kind(file) == "dicom":
                headers.append(file)
            else:
                pictures.append(Source(stem_of(file.name), [file], None))
    series, refused = dicom.group(headers)
    rejected |= {str(file): f"{reason} ({detail})" if detail else reason for file, reason, detail in refused}
    alone = {file.resolve() for file in inputs if file.is_file()}
    pictures += [Source(_series_name(one.files, alone), one.files, one.frames) for one in series]
    return _numbered(pictures), rejected


@torch.no_grad()
def _one(trained: Trained, module: nn.Module, source: Source, out: Path, device: Any) -> list[Line]:
    """Predict one image: write its mask, or return its lines (id, class, probability)."""
    array, geometry = grid.to_array(source.read(), trained.preprocessing)
    if array.shape[0] != trained.channels:
        raise Rejected("other channels", f"the image has {array.shape[0]}, the network takes {trained.channels}")
    spacing = tuple(geometry["array"]["spacing"])
    x = network_input(array, geometry["intensity"], spacing, trained.size, trained.task.dense)
    probability = trained.task.predict(module, x.to(device), trained.size)[0].cpu()
    if trained.task.dense:
        _write_mask(out / f"{source.name}.nii.gz", probability.argmax(0).numpy().astype(np.uint8), geometry, source)
        return []
    values = zip(trained.task.classes, probability.tolist(), strict=True)
    return [(source.name, name, f"{value:.6f}") for name, value in values]


def _write_mask(path: Path, mask: np.ndarray, geometry: dict[str, Any], source: Source) -> None:
    if path.resolve() in {file.resolve() for file in source.files}:
        raise InputError(f"the mask of {path} would replace the image itself: choose another --out")
    volume = grid.to_source(mask, geometry)
    with atomic.writing(path) as beside:
        nifti.write(beside, volume.array[0], volume.affine)


def _report(out: Path, lines: list[Line], rejected: dict[str, str]) -> None:
    if lines:
        _write_table(out / "predictions.csv", ("id", "class", "probability"), lines)
    if rejected:
        _write_table(out / "rejected.csv", ("source", "reason"), rejected.items())
    for source, reason in rejected.items():
        print(f"left out: {source}: {reason}")


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith(HIDDEN))
    return [path] if path.is_file() else []


def _series_name(files: list[Path], alone: set[Path]) -> str:
    """The folder's name, or the stem of a file that was given by itself."""
    return stem_of(files[0].name) if files[0].resolve() in alone else files[0].resolve().parent.name


def _numbered(found: list[Source]) -> list[Source]:
    counts, seen = Counter(source.name for source in found), Counter[str]()
    named = []
    for source in found:
        seen[source.name] += 1
        several = counts[source.name] > 1
        named.append(source._replace(name=f"{source.name}_{seen[source.name]}") if several else source)
    return named


def _write_table(path: Path, head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])
