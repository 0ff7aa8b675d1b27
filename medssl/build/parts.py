"""Build the parts of a recipe: each group is checked and built here, before data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from medssl.branches import adversary, restore
from medssl.build import compatibility, loss_weights
from medssl.build.kinds import call, check, filled, kinds, make, resolve
from medssl.build.loss_weights import weights
from medssl.engine.schedule import OptimizerSpec
from medssl.models import gray
from medssl.models.weights import load as load_weights
from medssl.pretext import Pretext
from medssl.recipe import in_steps
from medssl.types import InputError
from medssl.views import build as build_views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from medssl.engine.schedule import Weight
    from medssl.recipe import PretrainRecipe, Recipe
    from medssl.types import CropPolicy
    from medssl.views import ViewMaker

__all__ = [
    "check",
    "crop",
    "decoder",
    "encoder",
    "kinds",
    "optimizers",
    "pretext",
    "pretrain_parts",
    "resolve",
    "resolved",
    "trained_encoder",
    "validate",
    "views",
    "weights",
]

SUPPLIED = {  # arguments of each `build` that medssl supplies, so that no recipe can set them
    "encoder": ("spatial_dims", "in_channels"),
    "decoder": ("spatial_dims", "channels", "strides"),
    "method": ("encoder", "spatial_dims", "samples", "batch", "steps"),
    "restore": ("spatial_dims", "in_channels", "out_channels"),
    "adversary": ("spatial_dims", "in_channels"),
    "crop": ("samples", "spatial_dims", "steps", "views", "levels"),
    "views": ("spatial_dims", "channels", "restores"),
}


class Parts(NamedTuple):
    """The parts of a pretraining, built once from its recipe."""

    recipe: PretrainRecipe  # with times in epochs as steps, if `samples` is known
    resolved: dict[str, Any]  # the recipe as given, with all defaults
    samples: int | None  # training samples; None: not known
    pretext: Pretext  # from `validate`: on the meta device, without weights
    views: ViewMaker
    policy: CropPolicy
    weights: dict[str, Weight]  # by loss
    specs: dict[str, OptimizerSpec]  # by player


def encoder(recipe: Recipe) -> Any:
    """The encoder of a recipe; with `views.faithful` in 2D it repeats its one gray channel three times."""
    expand_gray = gray.is_expanded(recipe.model_dump())
    channels = gray.CHANNELS if expand_gray else recipe.channels
    net = make("encoder", recipe.encoder, {"spatial_dims": recipe.spatial_dims, "in_channels": channels})
    if expand_gray:
        gray.expand(net)
    return net


def trained_encoder(recipe: Recipe, tensors: Mapping[str, Tensor], source: str = "checkpoint") -> Any:
    """The encoder of a recipe, with its weights out of those of a network. Raises `InputError`, naming `source`."""
    made = encoder(recipe)
    load_weights(nn.ModuleDict({"encoder": made}), tensors, ["encoder"], source=source)
    return made


def decoder(recipe: Recipe, on: Any) -> Any:
    """The decoder of a recipe on the encoder `on`. Raises InputError if the recipe has none."""
    if recipe.decoder is None:
        raise InputError("decoder is null, but a decoder is needed here: set decoder.kind=unet")
    supplied = {"spatial_dims": recipe.spatial_dims, "channels": on.channels, "strides": on.strides}
    return make("decoder", recipe.decoder, supplied)


def views(recipe: PretrainRecipe) -> ViewMaker:
    """The view maker of a recipe."""
    supplied = {
        "spatial_dims": recipe.spatial_dims,
        "channels": recipe.channels,
        "restores": recipe.restore is not None,
    }
    maker: ViewMaker = call(build_views, recipe.views, "views", supplied)
    return maker


def crop(recipe: PretrainRecipe, samples: int, *, views: int | None = None, levels: int | None = None) -> CropPolicy:
    """The crop policy for `samples` training samples; `levels` of features, None if the encoder is not known."""
    recipe = in_steps(recipe, samples)
    supplied = {"samples": samples, "spatial_dims": recipe.spatial_dims, "steps": recipe.train.steps}
    policy: CropPolicy = make("crop", recipe.crop, {**supplied, "views": views, "levels": levels})
    return policy


def optimizers(recipe: Recipe) -> dict[str, OptimizerSpec]:
    """The optimizer settings of each player."""
    return {name: OptimizerSpec(**dict(spec)) for name, spec in recipe.optimizers.items()}


def validate(recipe: PretrainRecipe, *, samples: int | None = None, world: int = 1) -> Parts:
    """Check a recipe for `samples` training samples (None: not known yet) on `world` devices, and build its parts.

    No data is read, and the networks have no weights: they are on the meta device (see `pretext`). Raises `InputError`
    for settings that cannot work, saying what to change.
    """
    timed = in_steps(recipe, samples)
    _check_groups(timed)
    compatibility.batch(timed, world)
    content, maker = resolved(recipe), views(timed)
    with compatibility.without_weights():
        net = encoder(timed)
        compatibility.sizes(net, maker.sizes, "view size")
        made = _pretext(timed, net, samples)
        for size in set(maker.sizes):
            compatibility.forward(net, timed.channels, size)
        if made.restore is not None:
            compatibility.forward(made, timed.channels, maker.sizes[0], made.reconstruct)
    if made.adversary is not None:
        made.adversary.discriminator.check(maker.sizes[0])
    compatibility.mask(timed, made, maker)
    made.check_views(content["views"]["count"])
    compatibility.batch_norm(made, timed, world)
    made.activate(made.names())
    compatibility.optimizers(timed, made.players())
    policy = crop(timed, samples or 1, views=len(maker.sizes), levels=len(net.channels))
    return Parts(timed, content, samples, made, maker, policy, weights(timed), optimizers(timed))


def pretext(parts: Parts) -> Pretext:
    """The networks of a validated recipe, with weights drawn from torch's global random generator."""
    made = _pretext(parts.recipe, encoder(parts.recipe), parts.samples)
    made.activate(made.names())
    return made


def pretrain_parts(recipe: PretrainRecipe, *, samples: int | None = None, world: int = 1) -> Parts:
    """The parts of a recipe, checked as by `validate`, with weights in the networks."""
    parts = validate(recipe, samples=samples, world=world)
    return parts._replace(pretext=pretext(parts))


def resolved(recipe: PretrainRecipe) -> dict[str, Any]:
    """The recipe as plain dictionaries with all defaults, also those of the kinds."""
    content = recipe.resolved()
    for group in ("encoder", "decoder", "method", "crop"):
        if content[group] is not None:
            kind = resolve(group, content[group]["kind"])
            content[group] = {"kind": content[group]["kind"], **filled(kind.build, content[group], SUPPLIED[group])}
    content["views"] = filled(build_views, content["views"], SUPPLIED["views"])
    for group, module in (("restore", restore), ("adversary", adversary)):
        if content[group] is not None:
            content[group] = filled(module.build, content[group], SUPPLIED[group])
    for group, weight in loss_weights.WEIGHTS.items():
        if content[group] is not None:
            content[group] = filled(loss_weights.timing, {"weight": weight, **content[group]})
    return content


def _arguments(recipe: PretrainRecipe, group: str) -> dict[str, Any]:
    """The arguments of a group's `build`: all but the weight and timing of its loss."""
    return {key: value for key, value in getattr(recipe, group).items() if key not in loss_weights.KEYS}


def _pretext(recipe: PretrainRecipe, net: Any, samples: int | None) -> Pretext:
    dims, channels = recipe.spatial_dims, recipe.channels
    parts: dict[str, Any] = {}
    if recipe.method is not None:
        batch = recipe.train.batch // recipe.train.accumulate  # what one forward sees over all ranks
        supplied = {"encoder": net, "spatial_dims": dims, "samples": samples, "batch": batch}
        supplied |= {"steps": recipe.train.steps}
        parts["method"] = make("method", _arguments(recipe, "method"), supplied)
    if recipe.restore is not None:  # without restoration a decoder would not be trained
        parts["decoder"] = decoder(recipe, net)
        supplied = {"spatial_dims": dims, "in_channels": parts["decoder"].out_channels, "out_channels": channels}
        parts["restore"] = call(restore.build, _arguments(recipe, "restore"), "restore", supplied)
    if recipe.adversary is not None:
        supplied = {"spatial_dims": dims, "in_channels": channels}
        parts["adversary"] = call(adversary.build, _arguments(recipe, "adversary"), "adversary", supplied)
    return Pretext(net, **parts)


def _check_groups(recipe: PretrainRecipe) -> None:
    if recipe.method is None and recipe.restore is None:
        raise InputError("method and restore are both null, so there is nothing to learn: set one of them")
    if recipe.adversary is not None and recipe.restore is None:
        raise InputError("adversary judges restored images, but restore is null: set restore or adversary=null")
    loss_weights.check_stages(recipe)
