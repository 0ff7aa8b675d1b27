"""Whether the parts of a recipe are compatible: checked here for all programs, before any data is read."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from medssl.build import kinds
from medssl.models import norm
from medssl.models.sizes import check as check_divisible
from medssl.models.sizes import per_axis
from medssl.times import steps_of
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from torch import Tensor

    from medssl.pretext import Pretext
    from medssl.recipe import PretrainRecipe, Recipe
    from medssl.views import ViewMaker

DRAWS = 100  # corruptions drawn to see whether one of them masks a voxel


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks built within have shapes but no values. Raises InputError for widths and sizes that cannot be built."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*zero-element")  # a width of 0 in a recipe
            yield
    except (RuntimeError, ValueError, UserWarning, ZeroDivisionError, IndexError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"the networks of this recipe cannot be built ({said}): check its widths and sizes") from error


def sizes(encoder: Any, wanted: Sequence[Sequence[int]], what: str) -> None:
    """Raises InputError for a size (*S) that the encoder cannot divide, or with one voxel at its deepest norm."""
    for size in wanted:
        check_divisible(size, encoder.divisor, what)
        deepest = [-(-n // s) for n, s in zip(size, per_axis(encoder.strides[-1], len(size)), strict=True)]
        if max(deepest) == 1 and any(isinstance(m, nn.modules.instancenorm._InstanceNorm) for m in encoder.modules()):
            raise InputError(
                f"{what} {list(size)} is a single voxel at the encoder's deepest level, which an instance norm cannot "
                "normalise: use a larger size or encoder.norm=group"
            )


def forward(
    network: nn.Module, channels: int, size: Sequence[int], call: Callable[[Tensor], Any] | None = None
) -> None:
    """Pass an image (1,channels,*size) through a network built `without_weights`, whose parts may not fit.

    `call` is the method to call if it is not `forward`.
    """
    training = network.training
    with torch.no_grad():
        network.eval()
        (call or network)(torch.empty(1, channels, *size, device="meta"))
    network.train(training)


def batch(recipe: Recipe, world: int) -> None:
    """Raises InputError for a batch that the devices and the accumulated parts cannot share equally."""
    given, parts = recipe.train.batch, recipe.train.accumulate * world
    if given % parts:
        raise InputError(
            f"train.batch={given} cannot be divided over {world} device(s) x {recipe.train.accumulate} accumulated "
            f"part(s): use train.batch={-(-given // parts) * parts}"
        )


def batch_norm(network: nn.Module, recipe: Recipe, world: int) -> None:
    """Raises InputError where a batch norm would see a single sample on each of `world` devices."""
    at_once = recipe.train.batch // recipe.train.accumulate  # what one forward sees over all devices
    frozen = [name for name, module in network.named_modules() if _frozen(module)]  # copies of parts checked anyway
    alone = {
        name.split(".")[0]: name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and at_once // (1 if isinstance(module, norm.SyncBatchNorm) else world) == 1
        and not any(f"{name}.".startswith(f"{copied}.") for copied in frozen)
    }
    if alone:
        way_out = " and ".join(_another_norm(recipe, part) for part in alone)
        raise InputError(
            f"a batch of 1 per device has no batch statistics, but {next(iter(alone.values()))} is a batch norm: "
            f"raise train.batch, or set {way_out}"
        )


def _frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _another_norm(recipe: Recipe, part: str) -> str:
    """The key that replaces the batch norm of a part, if its kind has one: `norm` or `..._norm`."""
    if settings := getattr(recipe, part, None):
        for key, norms in kinds.choices(kinds.resolve(part, settings["kind"]).build, "norm").items():
            for other in ("group", "none"):
                if other in norms:
                    return f"{part}.{key}={other}"
    return f"another norm in {part}"


def optimizers(recipe: Recipe, players: Collection[str]) -> None:
    """Raises InputError for a player without optimizer, an optimizer without player, or an unreachable rate."""
    for name in sorted(set(players) - set(recipe.optimizers)):
        raise InputError(f"optimizers has no entry for the player '{name}': add optimizers.{name}.kind and .lr")
    for name in sorted(set(recipe.optimizers) - set(players)):
        raise InputError(
            f"optimizers.{name} has no player in this recipe (players: {sorted(players)}): remove it, or set "
            f"optimizers.{name}=null"
        )
    for name, spec in recipe.optimizers.items():
        if steps_of(spec.warmup, recipe.train.steps) > recipe.train.steps:
            raise InputError(
                f"optimizers.{name}.warmup={spec.warmup} is longer than the run of {recipe.train.steps} steps, which "
                "would never reach its lr: shorten the warm-up, or train longer"
            )


def mask(recipe: PretrainRecipe, pretext: Pretext, maker: ViewMaker) -> None:
    """Refuse restore.masked_only=true if the corruption never masks a voxel: the loss would be 0. Raises InputError."""
    if pretext.restore is None or not pretext.restore.masked_only:
        return
    corrupt, rng, shape = maker.preset.corrupt, np.random.default_rng(0), (recipe.channels, *maker.sizes[0])
    if corrupt is None or not any(corrupt.mask(shape, corrupt.draw(rng, shape)).any() for _ in range(DRAWS)):
        raise InputError(
            f"restore.masked_only=true, but views.corrupt={recipe.views.get('corrupt', 'dira')} masks no "
            f"voxel of views of size {list(maker.sizes[0])}, so the loss would be 0: change one of the two"
        )
