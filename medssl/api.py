"""medssl from Python: each verb of the command line is a function with the same words, which returns what it made.

Nothing is printed (see `medssl.messages`), and what cannot work raises `InputError` with the sentence that the command
line would show. Paths may be text, `pathlib.Path`, or a `Run`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.messages import progress
from medssl.runs import Place, Run, RunOptions, merged, path_of, run_verb
from medssl.types import InputError

if TYPE_CHECKING:
    from typing import Unpack

    from medssl.data.cache import Cache
    from medssl.data.scan.scan import ScanResult
    from medssl.recipe import Changes, Listed, Source


def scan(
    folders: Place | Sequence[Place],
    out: Place = "manifest.csv",
    *,
    labels: Place | None = None,
    pair: Sequence[str] = (),
    table: Place | None = None,
    id: str = "id",
    columns: Mapping[str, str] | None = None,
    patient_from: str | None = None,
    modality: str | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    key: Place | None = None,
) -> ScanResult:
    """Find the images in folders, and write a manifest of them.

    Args:
        folders: folders of DICOM, NIfTI, PNG, JPEG or TIFF.
        out: the manifest; `rejected.csv` beside it says why other files were left out.
        labels: folder of label files that have the same names as the images.
        pair: patterns `IMAGE=LABEL` that tell which label belongs to which image.
        table: CSV file with one row per image.
        id: column of the table with the file name or path.
        columns: which column holds what, such as `{"class": "finding"}`.
        patient_from: regular expression that finds the patient in a path, by its first group if it has one.
        modality: of images whose files do not tell it, such as "MR".
        split: shares of train, val and test, by patient.
        seed: of the split.
        key: secret key that turns patient names into ids; reuse that of an earlier scan to get the same ids.

    Returns:
        The rows of the manifest, what was left out, and notices of what looked odd.

    Raises:
        InputError: no image was found, or an argument makes no sense.
    """
    from medssl.data.scan.scan import scan as run

    with progress() as update:
        return run(
            [Path(folder) for folder in ([folders] if isinstance(folders, str | os.PathLike) else folders)],
            Path(out),
            labels=path_of(labels),
            pairs=tuple(pair),
            table=path_of(table),
            id_column=id,
            columns={} if columns is None else columns,
            patient_from=patient_from,
            modality=modality,
            split=split,
            seed=seed,
            key=path_of(key),
            progress=update,
        )


def prepare(
    manifest: Place,
    out: Place,
    *,
    preset: str,
    spacing: Sequence[float] | str | None = None,
    channels: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    label_map: Mapping[int, int] | None = None,
    keep_small: bool = False,
    rescale: Sequence[float] | None = None,
    modality: str | None = None,
    min_slices: int | None = None,
    description: str | None = None,
    workers: int = 1,
) -> Cache:
    """Orient, resample, crop to the body and store every image of a manifest for random access; resumable.

    Args:
        manifest: the manifest of `scan`.
        out: the folder of the cache.
        preset: mr, ct, pet, xray, pathology or ultrasound.
        spacing: target spacing in mm, in index order (Z,Y,X or Y,X), or "isotropic"; None: as stored.
        channels: co-registered series that become channels, such as `["FLAIR", "T1"]`.
        window: the stored values that become 0 and 1, in place of the preset's.
        label_map: class numbers of stored label values, such as `{255: 1}`.
        keep_small: keep a voxel of each part of a label that resampling would lose.
        rescale: slope and intercept that make stored values Hounsfield units, or what else the preset expects.
        modality: only images of this modality, such as "CT".
        min_slices: only volumes of at least so many slices.
        description: only images whose series description or path fits this regular expression.
        workers: processes to use.

    Raises:
        InputError: `out` holds another cache, or no image could be prepared.
    """
    from medssl.data.prepare import prepare as run

    with progress() as update:
        return run(
            Path(manifest),
            Path(out),
            preset=preset,
            spacing=spacing,
            channels=channels,
            window=window,
            label_map=label_map,
            keep_small=keep_small,
            rescale=rescale,
            modality=modality,
            min_slices=min_slices,
            description=description,
            workers=workers,
            progress=update,
        )


def convert(manifest: Place, out: Place) -> list[Path]:
    """Write each image of a manifest as NIfTI in its native grid; returns the files."""
    from medssl.data.convert import convert as run

    with progress() as update:
        return run(Path(manifest), Path(out), progress=update)


def open_cache(path: Place) -> Cache:
    """Open what `prepare` wrote: `cache.cases`, `cache.image(id)`, `cache.label(id)`. Raises `InputError`."""
    from medssl.data.cache import Cache

    return Cache(Path(path))


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


def export_weights(run: Place, out: Place, *, to: str = "safetensors") -> Path:
    """Write the weights of a run for other tools into the folder `out`; returns it. Raises `InputError`."""
    from medssl.kinds import resolve

    exported: Path = resolve("export", to).export(Path(run), Path(out))
    return exported


def list_recipes(verb: str | None = None) -> list[Listed]:
    """The recipes that come with medssl, of one verb (pretrain, finetune, benchmark) or of all."""
    from medssl.recipe import listed

    return listed(verb)
