"""Whether the parts of a recipe fit each other, asked before any data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from medssl.engine.schedule import steps_of
from medssl.models import norm
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.pretext import Pretext
    from medssl.recipe import PretrainRecipe
    from medssl.views import ViewMaker

NORMLESS = {  # what takes the batch norm out of each part; of a method, that in its head
    "encoder": "encoder.norm=group",
    "decoder": "decoder.norm=group",
    "method": "method.head_norm=none",
}
DRAWS = 100  # of corruptions, to see whether one masks anything


def warmup(recipe: PretrainRecipe) -> None:
    """Raises InputError for a player whose warm-up is longer than the run, so that it never has its rate."""
    steps = recipe.train.steps
    for name, spec in recipe.optimizers.items():
        if steps_of(spec.warmup, steps) > steps:
            raise InputError(
                f"optimizers.{name}.warmup={spec.warmup} is longer than the run of {steps} steps, which would never "
                "reach its lr: shorten it, or train longer"
            )


def mask(recipe: PretrainRecipe, pretext: Pretext, maker: ViewMaker) -> None:
    """Raises InputError where only what is masked counts and no draw masks anything: the loss would be 0."""
    if pretext.restore is None or not pretext.restore.masked_only:
        return
    corrupt, rng, shape = maker.preset.corrupt, np.random.default_rng(0), (recipe.channels, *maker.sizes[0])
    if corrupt is None or not any(corrupt.mask(shape, corrupt.draw(rng, shape)).any() for _ in range(DRAWS)):
        raise InputError(
            f"restore.masked_only=true, but views.corrupt={recipe.views.get('corrupt', 'dira')} masks nothing of views "
            f"of {list(maker.sizes[0])}, so the loss would be 0: set another views.corrupt or restore.masked_only=false"
        )


def batch_norm(pretext: nn.Module, batch: int, world: int) -> None:
    """Raises InputError where a batch norm would see one sample; `batch` is that of one forward over `world` ranks."""
    alone = {
        name.split(".")[0]: name
        for name, module in pretext.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and batch // (1 if isinstance(module, norm.SyncBatchNorm) else world) == 1
        and ".key_encoder." not in name  # copies of encoder and head
    }
    if alone:
        way_out = " and ".join(NORMLESS.get(part, f"another norm in {part}") for part in alone)
        raise InputError(
            f"a batch of 1 a device has no batch statistics, but {next(iter(alone.values()))} is a batch norm: "
            f"raise train.batch, or set {way_out}"
        )
