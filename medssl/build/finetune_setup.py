"""From a fine-tuning recipe to a checked plan, a task and its network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from medssl import patches
from medssl.build import compatibility, kinds, parts
from medssl.recipe import in_steps
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import nn

    from medssl.data.cache import Cache
    from medssl.patches import Augment
    from medssl.recipe import FinetuneRecipe
    from medssl.tasks.task import Task

SUPPLIED = ("spatial_dims", "channels")  # to the `build` of a task and of the augment group


class Plan(NamedTuple):
    """What is known before any data is read."""

    module: Any  # of the task
    augment: Augment
    network: nn.Module  # shapes without numbers; the classes stand for themselves once the data is read


def task_module(recipe: FinetuneRecipe) -> Any:
    """The module of the recipe's task, or what it is for these settings where it has a `variant(settings)`."""
    module = kinds.resolve("task", recipe.task["kind"])
    return module.variant(recipe.task) if hasattr(module, "variant") else module


def plan(recipe: FinetuneRecipe) -> Plan:
    """What a recipe is made of, its networks tried without weights. Raises `InputError` for what does not fit."""
    kind = recipe.task["kind"]
    if kind == "localize":
        raise InputError("task localize is not built yet: use task.kind=segment or task.kind=classify")
    module = task_module(recipe)
    supplied = {"spatial_dims": recipe.spatial_dims, "channels": recipe.channels}
    augment = kinds.call(patches.build, recipe.augment, "augment", supplied)
    with compatibility.without_weights():
        net = parts.encoder(recipe)
        compatibility.sizes(net, [augment.size], "augment.size")
        if recipe.decoder is not None:
            parts.decoder(recipe, net)
        model = network(recipe, kinds.make("task", recipe.task, supplied))
        compatibility.forward(model, recipe.channels, augment.size)
    return Plan(module, augment, model)


def check(recipe: FinetuneRecipe, world: int = 1) -> Plan:
    """The plan of a recipe that can train on `world` devices. Raises `InputError` for one that cannot."""
    made = plan(recipe)
    if not any(weight.requires_grad for weight in made.network.parameters()):
        return made  # nothing is trained: batch and optimizers have no part in it
    compatibility.batch(recipe, world)
    compatibility.batch_norm(made.network, recipe, world)
    compatibility.optimizers(in_steps(recipe, None), {"main"})
    return made


def task(recipe: FinetuneRecipe, made: Plan, cache: Cache, train: list[str]) -> tuple[Task, dict[str, Any]]:
    """The task with its classes known, and the recipe with every default filled."""
    names = made.module.names(recipe.task.get("classes"), [cache.cases[name] for name in train], cache.label)
    settings = {**recipe.task, "classes": names}
    found: Task = kinds.make("task", settings, {"spatial_dims": recipe.spatial_dims})
    content = recipe.resolved()
    content["task"] = kinds.filled(made.module.build, settings, SUPPLIED)
    content["augment"] = kinds.filled(patches.build, recipe.augment, SUPPLIED)
    for group in ("encoder", "decoder"):
        if content[group] is not None:
            module = kinds.resolve(group, content[group]["kind"])
            content[group] = kinds.filled(module.build, content[group], parts.SUPPLIED[group])
    return found, content


def network(recipe: FinetuneRecipe, task: Task) -> nn.Module:
    """The network of a task, its weights drawn from torch's global generator."""
    encoder = parts.encoder(recipe)
    return task.model(encoder, parts.decoder(recipe, encoder) if recipe.decoder is not None and task.dense else None)
