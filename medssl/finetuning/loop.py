"""`medssl finetune`: train an encoder (and decoder) for a task on labelled cases. Read it from top to bottom."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from medssl import patches, ranks, report
from medssl.build import finetune_setup
from medssl.data.files import plain, write_json
from medssl.engine import checkpoint, loader, phases
from medssl.engine.log import MetricsLog
from medssl.engine.meter import Meter
from medssl.engine.pace import Pace
from medssl.engine.signals import stop_requests, stops_at_once
from medssl.finetuning import evaluate, examples, start
from medssl.finetuning.probe import probe
from medssl.finetuning.state import BEST, LAST, begin, save
from medssl.messages import progress, say
from medssl.patches import PatchDataset
from medssl.probing import baselines
from medssl.runtime import cases, finite, init_weights, launch, resume, run_directory, training
from medssl.runtime.subsets import leaks
from medssl.times import steps_of
from medssl.types import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning_fabric.wrappers import _FabricModule
    from torch import Tensor, nn

    from medssl.finetuning.state import FinetuneState
    from medssl.recipe import FinetuneRecipe, Options
    from medssl.tasks.task import Row


def finetune(recipe: FinetuneRecipe, options: Options) -> None:
    """Run, resume or (dry_run) check a fine-tuning; results are in the run directory.

    Raises `InputError` if it cannot run, `Interrupted` if a signal stopped it after a checkpoint.
    """
    if options.dry_run:
        finetune_setup.check(recipe)
        cases.check_given(recipe)
        say("the recipe is valid; nothing was run")
        return
    results = tune(recipe, options)
    if ranks.rank() == 0:
        out = run_directory.path(options)
        if "hit" in results["test"].get("details", {}):
            cache = cases.open_cache(recipe, out, continued=True)
            if options.pictures or not run_directory.radiographs(recipe.resolved(), cache):
                examples.draw(out, cache, results)
        say(str(report.build([out], out / "report.html", pictures=options.pictures)))


def tune(recipe: FinetuneRecipe, options: Options) -> dict[str, Any]:
    """Fine-tune (or probe) and test; returns the content of results.json."""
    if recipe.task["kind"] == "probe":
        return probe(recipe, options)
    fabric = launch.fabric(options, recipe.train.precision)
    made = finetune_setup.check(recipe, fabric.world_size)
    out = run_directory.path(options)
    content = resume.last(out, "finetune") if options.resume else None
    with run_directory.replacing(options), stops_at_once():
        if fabric.is_global_zero:
            run_directory.claim(options)
            cases.provide(recipe.data, out, recipe.augment.get("preset", "ct"))
        launch.start(fabric)
        fabric.barrier()
        run = start.opened(recipe, options, made, fabric, content)
    _loop(run)
    return _finish(run)


def _loop(run: FinetuneState) -> None:
    if run.step == run.steps:
        run.log.say(f"already complete: {run.steps} of {run.steps} steps are done")
        return
    train = run.recipe.train
    every, validate = (max(1, steps_of(t, run.steps)) for t in (train.checkpoint_every, train.validate_every))
    metrics = MetricsLog(run.out if run.fabric.is_global_zero else None, step=run.step)
    module = begin(run)
    pace = Pace(run.steps, train.batch)
    with stop_requests(lambda: pace.step_seconds) as stop_asked, progress() as show:
        meter = Meter(run.fabric.device, _batches(run))
        while run.step < run.steps:
            if phases.begins(run.phases, run.step):
                module = begin(run)
            values = _step(run, module, meter, asked=stop_asked())
            interrupted = values.pop("stop") > 0
            run.step += 1
            record = {"step": run.step, "samples": run.step * train.batch, **values} | meter.read()
            pace.see(record)
            if run.subsets["val"] and (run.step % validate == 0 or run.step == run.steps):
                record |= _validate(run, module, pace.words(run.step, record.get("memory")))
                meter.read()  # validation does not count as training time
            if run.step % train.log_every == 0 or run.step == run.steps or "metric.best" in record:
                metrics.write(record)
            if run.step % every == 0 or run.step == run.steps or interrupted:
                save(run, LAST)
            if interrupted and run.step < run.steps:
                said = f"stopped at step {run.step} of {run.steps}: resume=true continues exactly"
                finite.leave(run.fabric, Interrupted(said))
            show("finetune", run.step, run.steps)
    metrics.close()


def _batches(run: FinetuneState) -> Iterator[tuple[Tensor, Tensor]]:
    train = run.recipe.train
    return loader.steps(
        PatchDataset(run.case_cache, run.subsets["train"], run.augment, run.recipe.seed),
        patches.collate,
        batch=train.batch,
        parts=train.accumulate,
        seed=run.recipe.seed,
        start=run.step,
        stop=run.steps,
        workers=run.recipe.data.workers,
        device=run.fabric.device,
    )


def _step(
    run: FinetuneState, module: _FabricModule, batches: Iterator[tuple[Tensor, Tensor]], *, asked: bool
) -> dict[str, float]:
    """One optimizer step; returns learning rate and losses, averaged over ranks and accumulated parts."""

    def forward() -> training.Part:
        x, target = run.fabric.to_device(next(batches))
        losses = run.task.loss(module(x), target).main
        total = torch.stack(list(losses.values())).sum()
        return training.Part(total, {f"loss.{name}": loss for name, loss in losses.items()})

    values = training.step(run, module, forward, asked=asked)
    return run.shown_rates() | values


def _validate(run: FinetuneState, module: nn.Module, pace: str) -> dict[str, float]:
    """Score the validation cases; the best weights so far become best.pt."""
    resume.agree(run.model)
    found = _rows(run, module, "val")
    summary = run.task.summary([evaluate.scores(row) for row in found])
    value = summary[run.task.score]
    if not math.isnan(value) and (run.best is None or value > run.best):
        run.best, run.best_step = value, run.step
        save(run, BEST)
    best = run.best if run.best is not None else float("nan")
    run.log.say(f"step {run.step} of {run.steps}: validation {run.task.score} {value:.4f} (best {best:.4f}) | {pace}")
    return {f"metric.val_{name}": v for name, v in summary.items() if not math.isnan(v)} | {"metric.best": best}


def _finish(run: FinetuneState) -> dict[str, Any]:
    """Test the best weights once; write results.json and, for classification, predictions.csv."""
    if run.best is None:  # no validation cases, or no score could be computed
        resume.agree(run.model)
        run.best_step = run.steps
        save(run, BEST)
    run.fabric.barrier()
    best = checkpoint.load(run.file(BEST))
    run.model.load_state_dict(best["weights"])
    module = run.fabric.setup_module(run.model, move_to_device=False)
    _decide(run, module, best)
    results = _results(run)
    found = _rows(run, module, "test")
    results["test"] = evaluate.table(run.task, found, run.recipe.seed)
    if found and getattr(run.task, "randomised", False):
        results["test"]["randomised"] = _randomised(run)
    if found:
        results["floor"] = evaluate.no_image_baseline(
            run.task, run.case_cache, run.subsets["train"], run.subsets["test"]
        )
        if run.fabric.is_global_zero and not run.task.dense:
            evaluate.write_predictions(run.out / "predictions.csv", run.task.classes, found)
    results = plain(results)
    if run.fabric.is_global_zero:
        write_json(run.out / "results.json", results)
    for line in evaluate.sentences(results):
        run.log.say(line)
    return results


def _rows(run: FinetuneState, module: nn.Module, part: str) -> list[Row]:
    """The scores of the validation or test cases, one row each."""
    return evaluate.rows(run.task, module, run.case_cache, run.subsets[part], run.augment.size, run.fabric.device)


def _decide(run: FinetuneState, module: nn.Module, best: dict[str, Any]) -> None:
    """Let the validation cases decide what the task leaves to them: the test, and predict, take it as it is.

    It is written into `best`, the content of best.pt.
    """
    task: Any = run.task
    if not getattr(task, "undecided", False):
        return
    found = _rows(run, module, "val")
    decided = task.tuned([evaluate.scores(row) for row in found])
    run.resolved = {**run.resolved, "task": {**run.resolved["task"], **decided}}
    run.task = run.case_cache.task = finetune_setup.task_of(run.recipe, run.augment, run.resolved["task"])
    run.log.say(f"decided on {len(found)} validation cases: " + ", ".join(f"{k}={v}" for k, v in decided.items()))
    if run.fabric.is_global_zero:
        best["recipe"]["task"] = run.resolved["task"]
        checkpoint.save(run.file(BEST), best)
    run.fabric.barrier()


def _randomised(run: FinetuneState) -> dict[str, float]:
    """The scores of the network with fresh weights: a map that they leave as it is shows edges, not what was learned.

    Adebayo et al. 2018, "Sanity checks for saliency maps".
    """
    make = partial(finetune_setup.network, run.recipe, run.task)
    [fresh] = baselines.untrained(make, [run.recipe.seed + 1]).values()
    found = _rows(run, run.fabric.setup_module(fresh), "test")
    return run.task.summary([evaluate.scores(row) for row in found])


def _results(run: FinetuneState) -> dict[str, Any]:
    test = {run.cache.cases[name].patient for name in run.subsets["test"]}
    return {
        "task": run.recipe.task["kind"],
        "settings": run.resolved["task"],
        "score": run.task.score,
        "init": run.origin.init,
        "loaded": run.origin.sentence(),
        "seed": run.recipe.seed,
        "steps": run.steps,
        "best_step": run.best_step,
        "chosen_by": "validation" if run.best is not None else "last step",
        "validation": run.best,
        "cases": {part: len(ids) for part, ids in run.subsets.items()},
        "patients": "guessed"
        if any(not run.cache.cases[name].patient_known for name in run.subsets["test"])
        else "told",
        "overlap": init_weights.overlap(run.origin, run.cache, test),
        "leaks": leaks(run.subsets, run.cache),
        "floor": None,
    }
