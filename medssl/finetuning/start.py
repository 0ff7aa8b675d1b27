"""Set up a fine-tuning at its first step, or where it was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from medssl.build import compatibility, finetune_setup, parts
from medssl.engine.log import TrainLog
from medssl.engine.schedule import optimizer
from medssl.finetuning.state import FinetuneState, restore
from medssl.patches import CACHE_BYTES, CaseCache
from medssl.recipe import in_steps
from medssl.runtime import cases, init_weights, resume, run_directory
from medssl.runtime.subsets import leaks, subsets

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medssl.recipe import FinetuneRecipe, Options


def opened(
    recipe: FinetuneRecipe, options: Options, made: finetune_setup.Plan, fabric: Fabric, content: dict[str, Any] | None
) -> FinetuneState:
    """The run at step 0, or as it was when its last checkpoint `content` was written."""
    run = _state(recipe, options, made, fabric, content)
    for name in [name for ids in run.subsets.values() for name in ids]:
        run.case_cache.check(name)  # refuse unsuitable cases now, not at the test
    if content is not None:
        restore(run, content)
        run.log.say(f"continuing at step {run.step} of {run.steps}")
    elif fabric.is_global_zero:
        run_directory.describe(run.out, run.resolved, run.cache, run.subsets)
        _introduce(run)
    return run


def _state(
    recipe: FinetuneRecipe, options: Options, made: finetune_setup.Plan, fabric: Fabric, content: dict[str, Any] | None
) -> FinetuneState:
    """The parts of a run; its network has initial weights, or those of `content`."""
    out = run_directory.path(options)
    cache = cases.open_cache(recipe, out, continued=content is not None)
    chosen = subsets(cache, recipe.data, made.module.labelled)
    task, resolved = finetune_setup.task(recipe, made, cache, chosen["train"])
    if content is not None:
        resume.check_recipe(content, resolved, fabric.world_size)
        resume.check_data(content, resume.data(cache, chosen))
    torch.manual_seed(recipe.seed)  # so that what init= does not load is equal to scratch
    model = finetune_setup.network(recipe, task)
    asked = model, options, task.parts
    origin = init_weights.start(*asked) if content is None else init_weights.continued(content, *asked)
    fabric.to_device(model)
    limit = CACHE_BYTES // (1 + recipe.data.workers)  # each worker keeps its own
    case_cache = CaseCache(cache, task, limit, by=made.augment.by)
    recipe = in_steps(recipe, len(chosen["train"]))
    compatibility.optimizers(recipe, {"main"})  # a warm-up in epochs is known in steps only now
    course, groups = finetune_setup.phases(recipe, made)
    specs, log = parts.optimizers(recipe), TrainLog(out if fabric.is_global_zero else None)
    return FinetuneState(
        recipe=recipe,
        resolved=resolved,
        out=out,
        fabric=fabric,
        cache=cache,
        log=log,
        specs=specs,
        optimizers={"main": optimizer(specs["main"], *(group.of(model) for group in groups))},
        phases=course,
        groups=groups,
        origin=origin,
        subsets=chosen,
        task=task,
        augment=made.augment,
        model=model,
        case_cache=case_cache,
    )


def _introduce(run: FinetuneState) -> None:
    counts = ", ".join(f"{len(ids)} {part}" for part, ids in run.subsets.items())
    run.log.say(f"task {run.recipe.task['kind']} ({', '.join(run.task.classes)}), cases: {counts}")
    run.log.say(run.origin.sentence())
    for leak in leaks(run.subsets, run.cache):
        run.log.say(f"warning: {leak}")
    if run.origin.preprocessing not in (None, run.cache.preprocessing):
        lines = run_directory.differences(run.origin.preprocessing, run.cache.preprocessing)
        run.log.say(f"note: the cache was prepared differently from that of the weights: {'; '.join(lines[:3])}")
    if not run.subsets["val"]:
        run.log.say("no validation cases: the last weights count as the best")
