"""The encoder of a run together with its preprocessing, so that its users need not know either."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.nn import functional

from medssl.build import kinds, parts
from medssl.models import sizes, weights
from medssl.patches import network_input
from medssl.probing import baselines
from medssl.recipe import FRAMES, FinetuneRecipe, PretrainRecipe, Recipe, validate
from medssl.runtime import init_weights
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    Place = str | os.PathLike[str]


class Frozen(NamedTuple):
    """A trained encoder, or the same encoder before training."""

    encoder: Any
    channels: int
    size: tuple[int, ...] | None  # images are resized to this; None: they keep their scale, as for segmentation
    preprocessing: dict[str, Any]
    about: dict[str, Any]  # verb, step, and the seed of an untrained network

    def see(self, array: np.ndarray, intensity: Sequence[tuple[float, float]], spacing: Sequence[float]) -> Tensor:
        """The network input (C,*S) in [0,1] of a prepared image (C,*S).

        An image that keeps its scale is padded with 0 at its end, to a size that is divisible as the encoder needs it.
        """
        if self.size is not None:
            return network_input(array, intensity, tuple(spacing), self.size, dense=False)[0]
        x = network_input(array, intensity, tuple(spacing), tuple(array.shape[1:]), dense=True)[0]
        divisors = sizes.per_axis(self.encoder.divisor, x.ndim - 1)
        short = [-n % d for n, d in zip(x.shape[1:], divisors, strict=True)]
        return functional.pad(x, [pad for n in reversed(short) for pad in (0, n)])


def load(run: Place, *, untrained: bool = False, seed: int = 0, size: Sequence[int] | None = None) -> Frozen:
    """The encoder of a pretraining or fine-tuning (run directory, .pt file, or export), in evaluation mode.

    `untrained` gives the network with which a run of `seed` starts. `size` replaces the size to which images are
    resized: that of the largest view of a pretraining, or of the images of a fine-tuning. Raises `InputError`.
    """
    encoder, recipe, content = network(run)
    about = {"verb": content["verb"], "step": (content.get("state") or {}).get("step")}
    if untrained:
        about = {"verb": "untrained", "seed": seed}
        [encoder] = baselines.untrained(lambda: parts.encoder(recipe), [seed]).values()
    own = _own_size(recipe) if size is None else _checked(size, encoder, recipe.spatial_dims)
    return Frozen(encoder.float().eval(), recipe.channels, own, content["preprocessing"], about)


def network(where: Place) -> tuple[Any, Recipe, dict[str, Any]]:
    """The trained encoder of a run, a checkpoint or an export; its recipe, and the content of its file.

    Raises `InputError` for weights without the recipe of their network.
    """
    path = init_weights.find(os.fspath(where))
    content, tensors = init_weights.about(path), weights.read(path)
    if "recipe" not in content:
        raise InputError(f"{where} has weights without a recipe: give a run, or a folder written by `medssl export`")
    recipe: Recipe = validate(FRAMES[content["verb"]], content["recipe"], f"the recipe in {where}")
    return parts.trained_encoder(recipe, tensors, str(where)), recipe, content


def _own_size(recipe: Recipe) -> tuple[int, ...] | None:
    """The size to which a run resizes whole images; None if they keep their scale."""
    if isinstance(recipe, PretrainRecipe):
        return view_size(recipe)
    assert isinstance(recipe, FinetuneRecipe)
    dense = kinds.make("task", recipe.task, {"spatial_dims": recipe.spatial_dims}).dense
    return None if dense else tuple(recipe.augment["size"])


def view_size(recipe: PretrainRecipe) -> tuple[int, ...]:
    """The size of the largest view of a pretraining."""
    given = recipe.views["size"]
    return tuple(max(given, key=math.prod) if isinstance(given[0], list) else given)


def _checked(size: Sequence[int], encoder: Any, dims: int) -> tuple[int, ...]:
    if len(size) != dims:
        raise InputError(f"size {list(size)} has {len(size)} axes, but the network is {dims}D: give one per axis")
    sizes.check(size, encoder.divisor, "size")
    return tuple(size)
