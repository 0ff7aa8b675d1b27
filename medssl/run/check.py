"""`medssl pretrain RECIPE check=true`: over-fit a few samples, all losses on from the start, and say what learned."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medssl.engine import log
from medssl.engine.collapse import CollapseWatch
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.recipe import Options, PretrainRecipe

STEPS, SAMPLES = 100, 8
FIRST, LAST = 5, 10  # records averaged at either end


def check(recipe: PretrainRecipe, options: Options) -> None:
    """Train on a few samples in a temporary folder and print a verdict on each loss.

    Raises InputError if one of them does not learn.
    """
    from medssl.run.pretrain import train

    small = shortened(recipe)
    with TemporaryDirectory() as folder:
        alone = {"out": folder, "check": False, "resume": False, "overwrite": False, "devices": 1, "num_nodes": 1}
        train(small, options.model_copy(update=alone), limit=small.train.batch)
        lines = verdicts(log.read(Path(folder) / "metrics.jsonl"))
    print(f"after {STEPS} steps on {small.train.batch} samples:")
    for _, line in lines:
        print(f"  {line}")
    if not all(learns for learns, _ in lines):
        raise InputError(
            "the recipe does not learn even a few samples by heart: see above; first try optimizers.main.lr"
        )
    print("the recipe learns these few samples; whether what it learns transfers, only a fine-tuning shows")


def shortened(recipe: PretrainRecipe) -> PretrainRecipe:
    """The recipe for a few samples and steps: every loss from step 0 at its full weight, one batch that is all."""
    now = {
        group: {**getattr(recipe, group), "start": 0, "warmup": 0}
        for group in ("method", "restore", "adversary")
        if getattr(recipe, group) is not None
    }
    optimizers = {
        name: spec.model_copy(update={"warmup": min(spec.warmup, STEPS // 10)})
        for name, spec in recipe.optimizers.items()
    }
    few = {"steps": STEPS, "batch": min(recipe.train.batch, SAMPLES), "accumulate": 1, "checkpoint_every": 1.0}
    train = recipe.train.model_copy(update={**few, "log_every": 1})
    return recipe.model_copy(update={**now, "optimizers": optimizers, "train": train})


def verdicts(records: list[dict[str, Any]]) -> list[tuple[bool, str]]:
    """(whether it learns, a sentence) for discrimination and restoration, where the recipe has them."""
    found = []
    if "loss.discrimination" in records[-1]:
        found.append(_contrast(records) if "metric.top1" in records[-1] else _similarity(records))
    if "loss.restoration" in records[-1]:
        first, last = _ends(records, "loss.restoration")
        found.append(_verdict("restoration", last < 0.7 * first, f"loss {first:.4g} -> {last:.4g}"))
    if "loss.discrimination" in records[-1] and "loss.bank" not in records[-1] and "metric.bank_norm" in records[-1]:
        found.append((True, f"bank: not judged, its keys are still being collected after {len(records)} steps"))
    return found


def _contrast(records: list[dict[str, Any]]) -> tuple[bool, str]:
    """By top-1, since the loss says little here: a queue fills with copies of so few samples, a bank fights back."""
    first, last = _ends(records, "metric.top1")
    guess = math.exp(-_ends(records, "metric.chance")[1])
    learns = last > max(2 * guess, 0.3) and not _collapsed(records)
    return _verdict("discrimination", learns, f"top-1 {first:.2f} -> {last:.2f}, by chance {guess:.2f}{_note(records)}")


def _similarity(records: list[dict[str, Any]]) -> tuple[bool, str]:
    """A method without negatives also lowers its loss by collapsing, so both are looked at."""
    first, last = _ends(records, "loss.discrimination")
    learns = last < first - 0.05 * abs(first) and not _collapsed(records)
    return _verdict("discrimination", learns, f"loss {first:.4g} -> {last:.4g}{_note(records)}")


def _verdict(name: str, learns: bool, evidence: str) -> tuple[bool, str]:
    return learns, f"{name}: {'learns' if learns else 'does NOT learn'} ({evidence})"


def _ends(records: list[dict[str, Any]], name: str) -> tuple[float, float]:
    values = [record[name] for record in records if name in record]
    return sum(values[:FIRST]) / len(values[:FIRST]), sum(values[-LAST:]) / len(values[-LAST:])


def _collapsed(records: list[dict[str, Any]]) -> bool:
    watch = CollapseWatch(None, patience=LAST)
    return any(watch.see(record) for record in records[-LAST:])


def _note(records: list[dict[str, Any]]) -> str:
    return "; the embeddings have collapsed into one" if _collapsed(records) else ""
