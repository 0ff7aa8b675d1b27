"""`medssl preview`: a figure of the training views that a recipe produces, before any training."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from medssl.build import parts
from medssl.messages import say
from medssl.pretraining.crop_refresh import FullVolumes, body_boxes, maps
from medssl.pretraining.pictures import described
from medssl.report.figures import contact_sheet
from medssl.runtime import cases, init_weights
from medssl.types import InputError
from medssl.view_dataset import ViewsDataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.recipe import Options, PretrainRecipe

SAMPLES = 3
DOTS = 150  # per inch
SUFFIXES = (".png", ".pdf", ".svg", ".jpg")


def preview(recipe: PretrainRecipe, options: Options, out: Path, name: str = "views") -> None:
    """Draw the first epoch's views of a few training samples into `out`, under the recipe's `name`.

    With init=RUN the heat maps of its encoder are drawn as well, and ContrastiveCrop uses their boxes; without, its
    windows are those before the first refresh. Raises InputError unless `out` ends in png, pdf, svg or jpg.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out} is not an image file: end it in one of {', '.join(SUFFIXES)}")
    with tempfile.TemporaryDirectory() as scratch:  # for the phantoms of a recipe that makes its own
        resolved = parts.resolved(recipe)
        data = _data(recipe, resolved["views"]["preset"], Path(scratch))
        numbers = np.unique(np.linspace(0, len(data) - 1, SAMPLES).astype(int)).tolist()
        heat = None if options.init is None else _heat(recipe, options, data, numbers)
        title = f"{name} on {cases.named(recipe.data)}"
        about = described(resolved, data.maker, data.policy)
        figure = contact_sheet(data, numbers, heat=heat, title=title, about=about)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DOTS)
    say(f"{len(numbers)} of {len(data)} training samples -> {out}")


def _data(recipe: PretrainRecipe, preset: str, scratch: Path) -> ViewsDataset:
    maker = parts.views(recipe)
    cases.provide(recipe.data, scratch, preset)
    cache = cases.open_cache(recipe, scratch)
    ids = cases.training_ids(cache, recipe.data)
    return ViewsDataset(cache, ids, maker, parts.crop(recipe, len(ids)), recipe.seed)


def _heat(
    recipe: PretrainRecipe, options: Options, data: ViewsDataset, numbers: Sequence[int]
) -> dict[int, torch.Tensor]:
    """Heat maps of the encoder that init= names; a crop policy that uses maps gets their boxes."""
    encoder = parts.encoder(recipe)
    say(init_weights.start(nn.ModuleDict({"encoder": encoder}), options, ["encoder"]).sentence())
    policy = data.policy
    wholes = FullVolumes(data.cache, data.ids, data.maker, data.maker.sizes[0])
    with torch.no_grad():
        found = list(maps(encoder.eval(), policy.level, (default_collate([wholes[number]]) for number in numbers)))
    if policy.level is not None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            policy.set_boxes(*policy.boxes_of(found, wholes.size, body_boxes(wholes)))
        for warning in caught:
            say(f"note: {warning.message}")
    return {number: one.heat[0] for number, one in zip(numbers, found, strict=True)}
