"""`medssl pretrain RECIPE overfit_check=true`: fit a few samples with all losses on, and report which losses learn."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from medssl import view_dataset
from medssl.build import parts
from medssl.engine import log
from medssl.engine.collapse import CollapseWatch
from medssl.messages import say
from medssl.types import InputError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from medssl.pretext import Pretext
    from medssl.pretraining.state import PretrainState
    from medssl.recipe import Options, PretrainRecipe

STEPS, SAMPLES = 100, 8
FIRST, LAST = 5, 10  # records averaged at the start and at the end


def check(recipe: PretrainRecipe, options: Options, train: Callable[..., PretrainState]) -> None:
    """Train on a few samples in a temporary folder with the loop `train`, and print a verdict on each loss.

    Raises InputError if a loss does not learn.
    """
    small = shortened(recipe)
    with TemporaryDirectory() as folder:
        alone = {
            "out": folder,
            "overfit_check": False,
            "resume": False,
            "overwrite": False,
            "devices": 1,
            "num_nodes": 1,
        }
        try:
            run = train(small, options.model_copy(update=alone), few=small.train.batch)
        except Interrupted as stop:
            raise Interrupted("stopped before the check reached a verdict: nothing was kept") from stop
        lines = verdicts(run, log.read(Path(folder) / "metrics.jsonl"))
    say(f"after {STEPS} steps on {len(run.ids)} samples:")
    for _, line in lines:
        say(f"  {line}")
    if not all(learns for learns, _ in lines):
        raise InputError("the recipe cannot even fit a few samples (see above): first try another optimizers.main.lr")
    say("the recipe can fit these few samples; only fine-tuning shows whether the features transfer")


def shortened(recipe: PretrainRecipe) -> PretrainRecipe:
    """The recipe for a few samples and steps: all losses from step 0 at full weight, one batch of all samples."""
    whole = parts.validate(recipe)  # also for what shortening would hide: a loss that starts after the run
    method, resolved = whole.pretext.method, whole.resolved
    now = {
        group: {**settings, "start": 0, "warmup": 0, "end": None}
        for group in ("method", "restore", "adversary")
        if (settings := resolved[group]) is not None
    }
    if "method" in now and (overfit := getattr(parts.resolve("method", now["method"]["kind"]), "overfit", None)):
        now["method"] = overfit(now["method"], resolved["views"]["count"])
    short = {
        name: spec.model_copy(update={"warmup": 0.1 if isinstance(spec.warmup, str) else min(spec.warmup, STEPS // 10)})
        for name, spec in recipe.optimizers.items()
    }
    for name in method.adversaries() if method is not None else ():  # not trained: with few samples they always win
        short[name] = short[name].model_copy(update={"lr": 1e-9, "final_lr": 0.0})
    few = {"steps": STEPS, "batch": min(recipe.train.batch, SAMPLES), "accumulate": 1, "checkpoint_every": 1.0}
    train = recipe.train.model_copy(update={**few, "log_every": 1})
    # Steps become the same share of the short run, as times written as shares do by themselves; the length of an epoch
    # of the whole run is not known here.
    total = recipe.train.steps
    shares = {key: min(1.0, t / total) for key in ("start", "every") if type(t := recipe.crop.get(key)) is int}
    crop = {key: v for key, v in {**recipe.crop, **shares}.items() if key not in ("start", "every") or type(v) is float}
    return recipe.model_copy(update={**now, "crop": crop, "optimizers": short, "train": train})


def verdicts(run: PretrainState, records: list[dict[str, Any]]) -> list[tuple[bool, str]]:
    """(whether it learns, a sentence) for discrimination and restoration, where the recipe has them."""
    found = []
    if "loss.discrimination" in records[-1]:
        found.append(_discrimination(run, records))
    if "loss.restoration" in records[-1]:
        values = [record["loss.restoration"] for record in records]
        first, last = sum(values[:FIRST]) / FIRST, sum(values[-LAST:]) / LAST
        found.append(_verdict("restoration", last < 0.7 * first, f"loss {first:.4g} -> {last:.4g}"))
    return found


def _discrimination(run: PretrainState, records: list[dict[str, Any]]) -> tuple[bool, str]:
    """Judged by whether views find each other. The loss says little here: queue and bank fill with copies of the few
    samples, learned negatives catch up, and methods without negatives lower their loss by collapsing.
    """
    torch.manual_seed(run.recipe.seed)
    fresh = parts.pretrain_parts(run.recipe, samples=len(run.ids)).pretext.train()
    run.fabric.to_device(fresh)
    before, after = paired(run, fresh), paired(run, run.pretext)
    evidence = (
        f"a view finds the other view of its sample in {before:.0%} -> {after:.0%}, chance {1 / len(run.ids):.0%}"
    )
    watch = CollapseWatch(None, patience=LAST)
    if any(watch.see(record) for record in records[-LAST:]):
        return _verdict("discrimination", False, f"{evidence}; the embeddings have collapsed")
    return _verdict("discrimination", after >= min((before + 1) / 2, 0.9), evidence)


@torch.no_grad()
def paired(run: PretrainState, pretext: Pretext) -> float:
    """The share of views whose nearest view, among those of all samples, is the other view of the same sample.

    By cosine between the method's prediction and its target, both minus their mean over samples; norm layers are in
    training mode, since encoder and heads have learned with the statistics of this batch.
    """
    method = pretext.float().method
    assert method is not None
    drawn = view_dataset.collate([run.views[0, index] for index in range(len(run.ids))])
    batch = run.maker.finish(drawn, run.fabric.device)
    z1, z2 = (method.project(pretext.encoder(x)) for x in batch.x[:2])
    cosines = torch.cat([_cosines(method.predict(z1), z2), _cosines(method.predict(z2), z1)])
    own = torch.arange(len(z1), device=z1.device).repeat(2)
    return (cosines.argmax(1) == own).float().mean().item()


def _cosines(a_BD: Tensor, b_BD: Tensor) -> Tensor:
    a_BD, b_BD = (functional.normalize(x.float() - x.float().mean(0), dim=1) for x in (a_BD, b_BD))
    return a_BD @ b_BD.T


def _verdict(name: str, learns: bool, evidence: str) -> tuple[bool, str]:
    return learns, f"{name}: {'learns' if learns else 'does NOT learn'} ({evidence})"
