"""`task: {kind: probe}`: a probe of a frozen encoder, beside the baselines it has to beat. Takes seconds on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from medssl.build import finetune_setup
from medssl.data.files import plain, write_json
from medssl.engine.log import TrainLog
from medssl.engine.signals import stops_at_once
from medssl.finetuning import evaluate, probe_answers
from medssl.finetuning.probe_run import Probing
from medssl.probing import compare, features
from medssl.runtime import cases, init_weights, launch, run_directory
from medssl.runtime.subsets import leaks, subsets
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import nn

    from medssl.recipe import FinetuneRecipe, Options
    from medssl.tasks.probe import Probe


def probe(recipe: FinetuneRecipe, options: Options) -> dict[str, Any]:
    """Probe the encoder that `init=` names; writes and returns the content of results.json. Raises `InputError`."""
    if options.devices * options.num_nodes > 1:
        raise InputError(f"devices={options.devices}: a probe runs on one device: leave devices out")
    device = launch.fabric(options, "32").device
    made = finetune_setup.check(recipe)
    out = run_directory.path(options)
    with run_directory.replacing(options), stops_at_once():
        run_directory.claim(options)
        cases.provide(recipe.data, out, recipe.augment.get("preset", "ct"))
        run = _open(recipe, options, made, device)
    results = _results(run) | (probe_answers.labels(run) if run.task.dense else probe_answers.classes(run))
    results = plain(results)
    write_json(out / "results.json", results)
    for line in sentences(results):
        run.log.say(line)
    return results


def sentences(results: dict[str, Any]) -> list[str]:
    """The result in sentences."""
    lines = evaluate.sentences(results)[1:]
    beside = compare.text(results["beside"], results["score"])
    few = compare.text(results["few_shot"], results["score"])
    lines += ["probes of frozen features and their baselines:", *beside]
    return [*lines, *(["with few labels:", *few] if few else [])]


def _open(recipe: FinetuneRecipe, options: Options, made: finetune_setup.Plan, device: Any) -> Probing:
    out = run_directory.path(options)
    cache = cases.open_cache(recipe, out)
    chosen = subsets(cache, recipe.data, made.module.labelled)
    found, resolved = finetune_setup.task(recipe, made, cache, chosen["train"])
    task = cast("Probe", found)
    torch.manual_seed(recipe.seed)  # with init=scratch, the untrained network of this seed is probed
    model = finetune_setup.network(recipe, task)
    start = init_weights.start(model, options, task.parts)
    features.check_level(task.settings.level, len(cast("Any", model.encoder).channels))
    encoder, log = cast("nn.Module", model.encoder), TrainLog(out)
    run = Probing(recipe, resolved, out, cache, chosen, task, made.augment.size, encoder, start, log, device)
    for name in [name for ids in chosen.values() for name in ids]:  # refuse unsuitable cases before any work
        run.target(name)
    run_directory.describe(out, resolved, cache, chosen)
    counts = ", ".join(f"{len(ids)} {part}" for part, ids in chosen.items())
    log.say(f"probing {recipe.task.get('of', 'classes')} ({', '.join(task.classes)}), cases: {counts}")
    for line in [start.sentence(), *(f"warning: {leak}" for leak in leaks(chosen, cache))]:
        log.say(line)
    return run


def _results(run: Probing) -> dict[str, Any]:
    test = {run.cache.cases[name].patient for name in run.subsets["test"]}
    return {
        "task": "probe",
        "settings": run.resolved["task"],
        "score": run.task.score,
        "init": run.origin.init,
        "loaded": run.origin.sentence(),
        "seed": run.recipe.seed,
        "steps": 0,
        "best_step": 0,
        "cases": {part: len(ids) for part, ids in run.subsets.items()},
        "overlap": init_weights.overlap(run.origin, run.cache, test),
        "leaks": leaks(run.subsets, run.cache),
        "floor": None,
    }
