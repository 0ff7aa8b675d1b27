"""Check a fine-tuning recipe and build its task and network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from medssl import patches
from medssl.build import compatibility, kinds, parts
from medssl.engine.phases import ENCODER, Group, Phase, merged
from medssl.models import layout, levels, weights
from medssl.recipe import in_steps
from medssl.times import steps_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from medssl.data.cache import Cache
    from medssl.patches import Augment
    from medssl.recipe import FinetuneRecipe
    from medssl.tasks.task import Task

SUPPLIED = ("spatial_dims", "channels", "flips")  # to the `build` of a task and of the augment group
TUNING = ("groups", "steps", "optimizer_warmup")  # to the `build` of a tuning


class Plan(NamedTuple):
    """What is known before data is read."""

    module: Any  # of the task, as it is for the settings
    augment: Augment
    network: nn.Module  # on the meta device, without weights; its number of classes is final once data is read


def plan(recipe: FinetuneRecipe) -> Plan:
    """The parts of a recipe, with networks tested without weights. Raises `InputError` if they do not fit together."""
    module = kinds.variant("task", recipe.task)
    supplied = {"spatial_dims": recipe.spatial_dims, "channels": recipe.channels}
    augment = kinds.call(patches.build, recipe.augment, "augment", supplied)
    with compatibility.without_weights():
        net = parts.encoder(recipe)
        compatibility.sizes(net, [augment.size], "augment.size")
        on_top = parts.decoder(recipe, net) if recipe.decoder is not None else None
        task = task_of(recipe, augment)
        model = task.model(net, on_top if task.dense else None)
        compatibility.forward(model, recipe.channels, augment.size)
    return Plan(module, augment, model)


def task_of(recipe: FinetuneRecipe, augment: Augment, more: Mapping[str, Any] | None = None) -> Task:
    """The task of a recipe, with `more` settings; it is told which axes are flipped in training, if it asks."""
    flips = tuple(axis for axis, chance in enumerate(augment.preset.warp.flip) if chance > 0)
    supplied = {"spatial_dims": recipe.spatial_dims, "channels": recipe.channels, "flips": flips}
    made: Task = kinds.make("task", {**recipe.task, **(more or {})}, supplied)
    return made


def check(recipe: FinetuneRecipe, world: int = 1) -> Plan:
    """The parts of a recipe, checked for training on `world` devices. Raises `InputError` if it cannot be trained."""
    made = plan(recipe)
    if not any(weight.requires_grad for weight in made.network.parameters()):
        return made  # nothing is trained: batch and optimizers are not used
    compatibility.batch(recipe, world)
    timed = in_steps(recipe, None)
    compatibility.optimizers(timed, {"main"})
    resting = {name for group in phases(timed, made)[1] if not any(group.weights) for name in group.parameters}
    network = copy.deepcopy(made.network)  # as it is trained: a frozen batch norm does not need a batch
    for name in resting:
        network.get_parameter(name).requires_grad_(False)
    compatibility.batch_norm(network, recipe, world)
    return made


def phases(recipe: FinetuneRecipe, made: Plan) -> tuple[list[Phase], list[Group]]:
    """When each part of the network is trained, and the optimizer's parameter groups; times must not be in epochs.

    Raises `InputError` for tuning settings that are not possible.
    """
    settings = recipe.tuning or {"kind": "full"}
    group_of = _groups(recipe, made, by_level=settings["kind"] != "full")
    names, steps = list(dict.fromkeys(group_of.values())), recipe.train.steps
    supplied = {"groups": names, "steps": steps, "optimizer_warmup": steps_of(recipe.optimizers["main"].warmup, steps)}
    found: list[Phase] = kinds.make("tuning", settings, supplied)
    return found, merged(group_of, found)


def _groups(recipe: FinetuneRecipe, made: Plan, *, by_level: bool) -> dict[str, str]:
    """The parameter group of each parameter: its part of the network, for the encoder with the level."""
    trained = [name for name, parameter in made.network.named_parameters() if parameter.requires_grad]
    group_of = {name: name.split(".")[0] for name in trained}
    if by_level and ENCODER in group_of.values():
        with compatibility.without_weights():
            x = torch.empty(2, recipe.channels, *made.augment.size)
            found = levels.of_parameters(made.network.get_submodule(ENCODER), x)
        of_encoder = {f"{ENCODER}.{name}": f"{ENCODER}.{level}" for name, level in found.items()}
        group_of |= {name: of_encoder[name] for name in trained if name in of_encoder}
    return group_of


def task(recipe: FinetuneRecipe, made: Plan, cache: Cache, train: list[str]) -> tuple[Task, dict[str, Any]]:
    """The task with its classes, and the recipe with all defaults."""
    names = made.module.names(recipe.task.get("classes"), [cache.cases[name] for name in train], cache.label)
    settings = {**recipe.task, "classes": names}
    return task_of(recipe, made.augment, {"classes": names}), resolved(recipe, settings)


def resolved(recipe: FinetuneRecipe, task: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with all defaults; `task` are the settings of its task."""
    content = recipe.resolved()
    content["task"] = kinds.filled(kinds.variant("task", task).build, task, SUPPLIED)
    content["augment"] = kinds.filled(patches.build, recipe.augment, SUPPLIED)
    if recipe.tuning is not None:
        content["tuning"] = kinds.filled(kinds.resolve("tuning", recipe.tuning["kind"]).build, recipe.tuning, TUNING)
    for group in ("encoder", "decoder"):
        if content[group] is not None:
            module = kinds.resolve(group, content[group]["kind"])
            content[group] = kinds.filled(module.build, content[group], parts.SUPPLIED[group])
    return content


def network(recipe: FinetuneRecipe, task: Task) -> nn.Module:
    """The network of a task, its weights drawn from torch's global generator."""
    encoder = parts.encoder(recipe)
    decoder = parts.decoder(recipe, encoder) if recipe.decoder is not None and task.dense else None
    made = task.model(encoder, decoder)
    layout.channels_last(made, recipe.spatial_dims)
    return made


def trained(
    recipe: FinetuneRecipe, tensors: Mapping[str, Tensor], source: str = "checkpoint"
) -> tuple[Task, nn.Module, tuple[int, ...]]:
    """The task and network of a finished run, with its weights, and the size of its training samples.

    Raises `InputError`, naming `source`.
    """
    augment = plan(recipe).augment
    task = task_of(recipe, augment)
    made = network(recipe, task)
    weights.load(made, tensors, ["all"], source=source)
    return task, made, augment.size
