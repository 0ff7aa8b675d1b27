"""Whether a CPU can run a recipe in a bearable time: asked before a recipe made for a GPU starts on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medssl.build import compatibility, parts
from medssl.engine.pace import duration
from medssl.planning import speed
from medssl.recipe import shipped
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.recipe import Options, PretrainRecipe

LARGE = 5_000_000  # parameters of an encoder that no CPU recipe has: smaller ones start without being timed
MOST_HOURS = 12.0


def check(recipe: PretrainRecipe, options: Options) -> None:
    """Refuse a run that would take this CPU more than MOST_HOURS, naming the recipe made for a CPU. Raises InputError.

    Nothing is asked of a run with `force`, of one that goes on, or of one that is only checked.
    """
    if options.force or options.resume or options.dry_run or options.overfit_check:
        return
    if options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available()):
        return
    with compatibility.without_weights():
        if sum(weight.numel() for weight in parts.encoder(recipe).parameters()) < LARGE:
            return
    hours = speed.rough_hours(recipe, torch.device("cpu"))
    if hours > MOST_HOURS:
        raise InputError(
            f"this recipe is made for a GPU: its {recipe.train.steps} steps would take this CPU about "
            f"{duration(3600 * hours)}. Use {tiny(recipe)} on a CPU, or set force=true to run this one anyway"
        )


def tiny(recipe: PretrainRecipe) -> str:
    """The shipped recipe for a CPU that is most like this one."""
    kind, dims = (recipe.method or {}).get("kind", ""), recipe.spatial_dims
    wanted = [f"{kind}_tiny_{dims}d"]
    if recipe.restore is not None:
        wanted = {"adco": ["dira_adco_ccrop_tiny"], "moco_v2": ["dira_tiny"], "": ["mae_tiny"]}.get(kind, [])
        wanted = [f"{name}_{dims}d" for name in [*wanted, "dira_adco_ccrop_tiny"]]
    there = {path.stem for path in shipped("pretrain")}
    return next((name for name in wanted if name in there), f"dira_adco_ccrop_tiny_{dims}d")
