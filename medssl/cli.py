"""The command line. Verbs import their code when they run, so that `medssl --help` answers at once, without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from medssl.terminal import Overrides, Recipe, RunCommand, Version, run_app
from medssl.verbs import data
from medssl.verbs.data import Out

app = typer.Typer(
    name="medssl",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def start(version: Version = False) -> None:
    """Self-supervised pretraining for medical images: scan, prepare, pretrain, finetune, benchmark."""


@app.command(epilog="Example: medssl doctor --recipe dira_adco_ccrop_3d")
def doctor(
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Also estimate the memory and run time of this pretraining recipe.")
    ] = None,
) -> None:
    """Check the installation and hardware; with --recipe, estimate memory and run time."""
    from medssl.verbs.doctor import doctor as run

    sys.exit(run(recipe))


app.command(epilog="Example: medssl scan images --labels labels --split 0.7,0.1,0.2 --out manifest.csv")(data.scan)
app.command(epilog="Example: medssl prepare manifest.csv --out cache --preset ct --spacing 1.5,1.5,1.5")(data.prepare)
app.command(epilog="Example: medssl convert manifest.csv --out nifti")(data.convert)


@app.command(epilog="Example: medssl plan cache --out recipe.yaml --device cuda --memory 24")
def plan(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The folder that `prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The recipe to write.")] = Path("recipe.yaml"),
    base: Annotated[str | None, typer.Option(help="The recipe whose method, losses and optimizers to keep.")] = None,
    encoder: Annotated[str, typer.Option(help="auto (that of the base), tiny, resnet or resenc.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    memory: Annotated[float | None, typer.Option(min=0.5, help="GiB to plan for; default: all of the device.")] = None,
) -> None:
    """Write a pretraining recipe that fits your data and device: view size, stages, batch and steps."""
    from medssl import api

    made = api.plan(cache, out, base=base, encoder=encoder, device=device, memory=memory)
    print("\n".join(made.reasons))
    print(f"-> {out}; next: medssl preview {out} --out views.png, then medssl pretrain {out} out=runs/pretrain")


@app.command(epilog="Example: medssl preview phantom_tiny --out views.png")
def preview(recipe: Recipe, overrides: Overrides = None, out: Out = Path("views.png")) -> None:
    """Save a figure of the training views that a recipe produces: crops, targets, corrupted inputs."""
    from medssl import api

    api.preview(recipe, overrides or [], out=out)


@app.command(cls=RunCommand, epilog="Example: medssl pretrain phantom_tiny out=runs/phantom train.steps=200")
def pretrain(recipe: Recipe, overrides: Overrides = None) -> None:
    """Pretrain an encoder (and decoder) without labels. out=DIR is required."""
    from medssl import api

    api.pretrain(recipe, overrides or [])


@app.command(
    cls=RunCommand, epilog="Example: medssl finetune segment_3d data.cache=cache init=runs/pretrain out=runs/segment"
)
def finetune(recipe: Recipe, overrides: Overrides = None) -> None:
    """Fine-tune for segmentation or classification, from init=RUN or init=scratch. out=DIR is required."""
    from medssl import api

    api.finetune(recipe, overrides or [])


@app.command(epilog="Example: medssl predict runs/segment scans/patient7 --out masks")
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory of a fine-tuning.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Image files, or folders of them, such as DICOM series.")
    ],
    out: Out,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seg: Annotated[bool, typer.Option("--seg", help="Lesions of DICOM series as DICOM SEG too (medssl[seg]).")] = False,
) -> None:
    """Predict new images: masks on their grid, probabilities in predictions.csv, lesions in candidates.csv."""
    from medssl import api

    api.predict(run, inputs, out, device=device, seg=seg)


@app.command(epilog="Example: medssl embed runs/pretrain scans --out features.npz --pool all_levels")
def embed(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory, .pt file, or folder written by medssl export.")
    ],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Image files, folders of them, manifests, or caches.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write: .npz or .csv.")] = Path("features.npz"),
    level: Annotated[int, typer.Option(help="Encoder level: 0 is the finest, -1 the deepest.")] = -1,
    pool: Annotated[
        Literal["mean", "mean_std", "all_levels"],
        typer.Option(help="What to write per image: mean, mean and standard deviation, or both for all levels."),
    ] = "mean",
    dense: Annotated[
        bool, typer.Option("--dense", help="Write the feature maps of the level instead of pooled features.")
    ] = False,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Use the same network before training, as a baseline.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the untrained network.")] = 0,
    size: Annotated[
        str | None, typer.Option(help="Resize images to this size, e.g. 64,64; default: as in the run.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Write the features of images, preprocessed as in the run. OUT.files.csv lists which id belongs to which input."""
    from medssl.verbs.embed import embed as start

    start(run, inputs, out, level, pool, dense, untrained, seed, size, device)


@app.command(
    cls=RunCommand, epilog="Example: medssl benchmark phantom_tiny inits.pretrained=runs/phantom out=runs/benchmark"
)
def benchmark(recipe: Recipe, overrides: Overrides = None) -> None:
    """Compare pretrained and other initial weights: fine-tune with several label fractions and seeds."""
    from medssl import api

    api.benchmark(recipe, overrides or [])


@app.command(epilog="Example: medssl report runs/pretrain runs/segment --out report.html")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="One or more run directories.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: report.html in the last run.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Include pictures of real radiographs (check them for burned-in text).")
    ] = False,
) -> None:
    """Write one HTML file about runs, with all figures inside."""
    from medssl import api

    print(api.write_report(runs, out, pictures=pictures))


@app.command(epilog="Example: medssl export runs/pretrain --to huggingface --out encoder license=cc-by-4.0")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    out: Out,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Options of the format, e.g. name=mine.")
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="The format (see docs/export.md), or the dotted path of your own module.")
    ] = "safetensors",
) -> None:
    """Write the weights of a run in a format that other tools read."""
    from medssl import api
    from medssl.verbs.export import given

    print(api.export_weights(run, out, to=to, **given(settings or [])))


@app.command(epilog="Examples: medssl recipes; medssl recipes show phantom_tiny; medssl recipes schema")
def recipes(
    action: Annotated[
        Literal["list", "show", "schema"], typer.Argument(help="list them, show NAME, or print their schema.")
    ] = "list",
    name: Annotated[str | None, typer.Argument(help="The recipe to show: NAME or VERB/NAME.")] = None,
) -> None:
    """List the recipes that come with medssl, show one, or print their JSON schema."""
    from medssl.verbs.recipes import recipes as run

    run(action, name)


@app.command(epilog="Example: medssl demo --out demo")
def demo(
    out: Out = Path("demo"),
    short: Annotated[bool, typer.Option(help="Use fewer steps, for a quick test.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the films, the networks and the draws of labels.")] = 0,
) -> None:
    """Simulate X-rays, pretrain on them, and measure whether that helped: from scan to report in five minutes."""
    from medssl.verbs.demo import demo as run

    run(out, short=short, seed=seed)


def main() -> None:
    """Run the command line; `--debug` anywhere shows tracebacks."""
    sys.exit(run_app(app, sys.argv[1:]))


if __name__ == "__main__":
    main()
