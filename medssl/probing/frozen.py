"""The encoder of a run, and what it needs to know of an image: whoever uses it need not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn
from torch.nn import functional

from medssl.build import kinds, parts
from medssl.engine import checkpoint
from medssl.models import sizes, weights
from medssl.patches import network_input
from medssl.probing import baselines
from medssl.recipe import FinetuneRecipe, PretrainRecipe, Recipe, validate
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor


class Frozen(NamedTuple):
    """A trained encoder, or the same one before training."""

    encoder: Any
    channels: int
    size: tuple[int, ...] | None  # that images are resized to; None: they keep their scale, as a segmentation sees them
    preprocessing: dict[str, Any]
    about: dict[str, Any]  # verb, step, and the seed of an untrained network

    def see(self, array: np.ndarray, intensity: Sequence[tuple[float, float]], spacing: Sequence[float]) -> Tensor:
        """(C,*S) in [0,1]: what the network sees of a prepared image (C,*S).

        An image that keeps its scale is padded with 0 at its far ends, to a size that the encoder can divide.
        """
        if self.size is not None:
            return network_input(array, intensity, tuple(spacing), self.size, dense=False)[0]
        x = network_input(array, intensity, tuple(spacing), tuple(array.shape[1:]), dense=True)[0]
        divisors = sizes.per_axis(self.encoder.divisor, x.ndim - 1)
        short = [-n % d for n, d in zip(x.shape[1:], divisors, strict=True)]
        return functional.pad(x, [pad for n in reversed(short) for pad in (0, n)])


def load(run: str | Path, *, untrained: bool = False, seed: int = 0, size: Sequence[int] | None = None) -> Frozen:
    """The encoder of a pretraining or fine-tuning (run directory or .pt), in evaluation mode.

    `untrained` gives the network that a run of `seed` starts from. `size` replaces the size images are resized to,
    which is that of the first view of a pretraining, or of the images of a fine-tuning. Raises `InputError`.
    """
    content = checkpoint.load(checkpoint.find(run))
    recipe, own = _recipe(content, run)
    about = {"verb": content["verb"], "step": content["state"]["step"]}
    if untrained:
        about = {"verb": "untrained", "seed": seed}
        [encoder] = baselines.untrained(lambda: parts.encoder(recipe), [seed]).values()
    else:
        encoder = parts.encoder(recipe)
        weights.load(nn.ModuleDict({"encoder": encoder}), content["weights"], ["encoder"], source=str(run))
    if size is not None:
        own = _checked(size, encoder, recipe.spatial_dims)
    return Frozen(encoder.float().eval(), recipe.channels, own, content["preprocessing"], about)


def _recipe(content: dict[str, Any], run: str | Path) -> tuple[Recipe, tuple[int, ...] | None]:
    """The recipe of a checkpoint, and the size it resizes whole images to."""
    where = f"the recipe in {run}"
    if content.get("verb") == "pretrain":
        recipe = validate(PretrainRecipe, content["recipe"], where)
        return recipe, view_size(recipe)
    if content.get("verb") == "finetune":
        tuned = validate(FinetuneRecipe, content["recipe"], where)
        dense = kinds.make("task", tuned.task, {"spatial_dims": tuned.spatial_dims}).dense
        return tuned, None if dense else tuple(tuned.augment["size"])
    made = content.get("verb", "another tool")
    raise InputError(f"{run} was made by {made}: give a run of `medssl pretrain` or `medssl finetune`")


def view_size(recipe: PretrainRecipe) -> tuple[int, ...]:
    """The size of the largest view of a pretraining."""
    given = recipe.views["size"]
    return tuple(max(given, key=math.prod) if isinstance(given[0], list) else given)


def _checked(size: Sequence[int], encoder: Any, dims: int) -> tuple[int, ...]:
    if len(size) != dims:
        raise InputError(f"size {list(size)} has {len(size)} axes, but the network takes {dims}: give one a axis")
    sizes.check(size, encoder.divisor, "size")
    return tuple(size)
