"""`medssl pretrain`: train an encoder, and a decoder if any, on unlabelled images. Reads from top to bottom."""

from __future__ import annotations

import gc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medssl import ranks, report, view_dataset
from medssl.build import parts as build
from medssl.engine import loader, players
from medssl.engine.log import MetricsLog, TrainLog
from medssl.engine.meter import Meter
from medssl.engine.pace import Pace
from medssl.engine.signals import stop_requests, stops_at_once
from medssl.messages import progress, say
from medssl.models import layout
from medssl.pretraining import console, pictures, stages
from medssl.pretraining.state import PretrainState, restore, restore_optimizers, save
from medssl.probing import online
from medssl.runtime import cases, finite, init_weights, launch, resume, run_directory, training
from medssl.times import steps_of
from medssl.types import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

    from medssl.build.parts import Parts
    from medssl.recipe import Options, PretrainRecipe
    from medssl.views import Batch

GO_ON = "resume=true continues exactly"


def pretrain(recipe: PretrainRecipe, options: Options) -> None:
    """Run, resume or (overfit_check, dry_run) test a pretraining recipe; results go to the run directory.

    Raises InputError for a recipe that cannot run, Interrupted when a signal stopped the run after a checkpoint.
    """
    if options.dry_run:
        _dry_run(recipe, options)
    elif options.overfit_check:
        from medssl.pretraining.overfit_check import check

        check(recipe, options, train)
    else:
        with run_directory.replacing(options), stops_at_once():
            run = train(recipe, options)
        if run.fabric.is_global_zero:
            if options.pictures or not run_directory.radiographs(run.resolved, run.cache):
                pictures.draw(run)
            say(str(report.build([run.out], run.out / "report.html", pictures=options.pictures)))


def _dry_run(recipe: PretrainRecipe, options: Options) -> None:
    """Check a recipe, with the number of its samples if it names data. Raises InputError."""
    data = recipe.data
    named = any(source is not None for source in (data.cache, data.manifest, data.phantom))
    samples = cases.expected(data, Path(options.out or "")) if named else None
    build.validate(recipe, samples=samples, world=options.devices * options.num_nodes)
    cases.check_given(recipe)
    say("the recipe is valid; nothing was run")


def train(recipe: PretrainRecipe, options: Options, few: int | None = None) -> PretrainState:
    """Pretrain on all training samples; or on the first `few`, which then show the same views at every step."""
    fabric = launch.fabric(options, recipe.train.precision)
    out = run_directory.path(options)
    content = resume.last(out, "pretrain") if options.resume else None
    parts = build.validate(recipe, samples=cases.expected(recipe.data, out), world=fabric.world_size)
    if content is not None:
        resume.check_recipe(content, parts.resolved, fabric.world_size)
    elif not few and recipe.data.manifest is None and parts.samples and options.init in (None, init_weights.SCRATCH):
        # Of a manifest only a bound is known yet, and `negatives: auto` goes by the number itself: `_begin` asks again.
        stages.check(parts.recipe, parts.weights, parts.pretext)
    if fabric.is_global_zero:
        run_directory.claim(options)
        cases.provide(recipe.data, out, parts.resolved["views"]["preset"])
    launch.start(fabric)
    fabric.barrier()
    run = _open(recipe, parts, fabric, out, few, continued=content is not None)
    if options.probe is not None and few is None and fabric.is_global_zero:
        run.probe = online.prepare(options.probe, options.probe_every, run.steps, run.maker.sizes, recipe.channels)
    if content is None:
        _begin(run, options)
    else:
        resume.check_data(content, resume.data(run.cache, {"train": run.ids}))
        run.origin = init_weights.continued(content, run.pretext, options, ["all"])
        restore(run, content)
    _loop(run, content)
    return run


def _open(
    recipe: PretrainRecipe, parts: Parts, fabric: Fabric, out: Path, few: int | None, *, continued: bool
) -> PretrainState:
    cache = cases.open_cache(recipe, out, continued=continued)
    ids = cases.training_ids(cache, recipe.data)
    if len(ids) != parts.samples:  # a manifest gave a bound only
        parts = build.validate(recipe, samples=len(ids), world=fabric.world_size)
    torch.manual_seed(recipe.seed)  # initial weights are the same on all ranks
    pretext = build.pretext(parts)
    torch.manual_seed(recipe.seed + ranks.rank())
    layout.channels_last(pretext, recipe.spatial_dims)
    fabric.to_device(pretext.double() if recipe.train.precision == "64" else pretext)
    return PretrainState(
        recipe=parts.recipe,
        resolved=parts.resolved,
        out=out,
        fabric=fabric,
        cache=cache,
        ids=ids[:few],
        fixed=few is not None,
        pretext=pretext.train(),
        maker=parts.views,
        policy=parts.policy if few is None else build.crop(recipe, len(ids[:few])),
        weights=parts.weights,
        specs=parts.specs,
        delays=stages.delays(parts.recipe, pretext),
        watches=stages.watches(parts.resolved),
        log=TrainLog(out if fabric.is_global_zero else None),
    )


def _begin(run: PretrainState, options: Options) -> None:
    """Step 0: load the initial weights and write the files that describe the run."""
    run.origin = init_weights.start(run.pretext, options, ["all"])
    run.log.say(run.origin.sentence())
    run.delays = stages.delays(run.recipe, run.pretext)  # none for a bank that was loaded full
    if not run.fixed:
        stages.check(run.recipe, run.weights, run.pretext)
    run.pretext.begin()
    with torch.no_grad():
        for tensor in run.pretext.state_dict().values():
            tensor.copy_(ranks.broadcast(tensor))
    if run.fabric.is_global_zero:
        run_directory.describe(run.out, run.resolved, run.cache, {"train": run.ids})
    if idle := [f"data.{name}" for name in ("val", "test") if getattr(run.recipe.data, name) is not None]:
        run.log.say(
            f"{' and '.join(idle)} {'is' if len(idle) == 1 else 'are'} ignored: pretraining uses data.train only"
        )
    if said := stages.unguided(run):
        run.log.say(said)
    run.log.say(
        f"pretraining on {len(run.ids)} samples for {run.steps} steps of {run.recipe.train.batch} "
        f"({run.fabric.world_size} x {run.fabric.device.type}, precision {run.recipe.train.precision})"
    )


def _loop(run: PretrainState, content: dict[str, Any] | None) -> None:
    if run.step == run.steps:
        run.log.say(f"already complete: {run.steps} of {run.steps} steps are done")
        return
    if content is not None:
        run.log.say(f"continuing at step {run.step} of {run.steps}")
        stages.enter(run, run.step - 1)  # the stage that the checkpoint was written in
        restore_optimizers(run, content)
    metrics = _metrics(run)
    every = max(1, steps_of(run.recipe.train.checkpoint_every, run.steps))
    pace = Pace(run.steps, run.recipe.train.batch)
    with stop_requests(lambda: pace.step_seconds) as stop_asked, progress() as show:
        for start, stop in pairwise(stages.boundaries(run)):
            module = None
            if ranks.world() > 1:
                gc.collect()  # the DDP wrapper of the previous stage must not receive the gradients of this one
            stages.enter(run, start)
            if run.policy.due(start):
                run.unlogged = stages.renew_boxes(run)
            module = run.fabric.setup_module(run.pretext)
            meter = Meter(run.fabric.device, _batches(run, start, stop))
            while run.step < stop:
                values = _step(run, module, meter, asked=stop_asked())
                interrupted = values.pop("stop") > 0
                run.step += 1
                record = pace.see(_record(run, values) | meter.read())
                if probed := stages.probed(run):
                    meter.read()  # probing is not training time
                for warning in filter(None, [watch.see(values) for watch in run.watches]):
                    run.log.say(f"warning at step {run.step}: {warning}")
                if run.step % run.recipe.train.log_every == 0 or run.step == run.steps or probed:
                    metrics.write(record | run.unlogged | probed)
                    run.unlogged = {}
                if run.step % every == 0 or run.step == run.steps or interrupted:
                    save(run)
                    run.log.say(console.line(run.step, run.steps, record, pace))
                if interrupted and run.step < run.steps:
                    finite.leave(run.fabric, Interrupted(f"stopped at step {run.step} of {run.steps}: {GO_ON}"))
                show("pretrain", run.step, run.steps)
    metrics.close()


def _metrics(run: PretrainState) -> MetricsLog:
    """The log of the run; if there is an online probe, its scores before training come first."""
    metrics = MetricsLog(run.out if run.fabric.is_global_zero else None, step=run.step or -1)
    if run.step == 0 and run.probe is not None:
        run.log.say(run.probe.describe())
        metrics.write({"step": 0, "samples": 0, **stages.probed(run)})
    return metrics


def _batches(run: PretrainState, start: int, stop: int) -> Iterator[Batch]:
    """The batches of this rank, steps `start` to `stop`. A new loader per stage, so that no worker has old boxes."""
    train = run.recipe.train
    return loader.steps(
        run.views,
        view_dataset.collate,
        batch=train.batch,
        parts=train.accumulate,
        seed=run.recipe.seed,
        start=start,
        stop=stop,
        workers=run.recipe.data.workers,
        device=run.fabric.device,
    )


def _step(run: PretrainState, module: _FabricModule, batches: Iterator[Batch], *, asked: bool) -> dict[str, float]:
    """One optimizer step per player; returns losses and diagnostics, averaged over ranks and accumulated parts."""

    def forward() -> training.Part:
        drawn = next(batches)
        losses = module(run.maker.finish(drawn, run.fabric.device))
        total = sum(run.weights[name](run.step) * loss for name, loss in losses.main.items())
        found = {f"loss.{name}": loss for name, loss in (losses.main | losses.adversaries).items()}
        found |= {f"metric.{name}": value for name, value in run.pretext.diagnostics.items()}
        samples = [run.ids[i] for i in drawn.sample.tolist()]
        return training.Part(total + sum(losses.adversaries.values()), found, samples)

    run.pretext.surveys = stages.surveyed(run)
    values = training.step(run, module, forward, asked=asked)
    run.pretext.after_step(run.step)
    return values


def _record(run: PretrainState, values: dict[str, float]) -> dict[str, float]:
    rates = {f"lr.{name}": rate for name, rate in players.rates(run.optimizers).items()}
    return {"step": run.step, "samples": run.step * run.recipe.train.batch, **rates, **values}
