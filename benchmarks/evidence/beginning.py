"""The first part of a run that another run of the suite has already computed.

With `learn_from`, `restore.start` and `crop.start` at the same time or later, a run of `ours` is a run of MoCo-v2 up to
there: same weights at the start, same views, same losses, bit for bit (tests/reference/test_adco.py). Its checkpoint at
that step is made from that of MoCo-v2 with the same pool and seed, which saves three quarters of its cost; what is not
there yet (decoder, discriminator) is as the seed draws it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch

from medssl.build import parts
from medssl.engine import checkpoint, log
from medssl.recipe.paths import portable
from medssl.runtime import cases, resume, run_directory

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.data.cache import Cache
    from medssl.recipe import PretrainRecipe

RENAMED = {"method.queue": "method.bank"}


def begin(out: Path, before: Path, until: int, recipe: PretrainRecipe, cache: Cache) -> None:
    """Write to `out` the state of a run of `recipe`, from the last checkpoint of the run `before` up to step `until`.

    Nothing is done where `out` has a checkpoint. Raises SystemExit where the two runs cannot have begun alike.
    """
    if (out / "checkpoints" / resume.LAST).exists():
        return
    step = max(at for at in map(_number, (before / "checkpoints").glob("step_*.pt")) if at <= until)
    theirs = checkpoint.load(before / "checkpoints" / f"step_{step}.pt")
    made = parts.validate(recipe, samples=theirs["data"]["samples"])
    torch.manual_seed(recipe.seed)
    pretext = parts.pretext(made)
    names = {old: new for old, new in RENAMED.items() if new in pretext.state_dict()}
    weights = {names.get(name, name): value for name, value in theirs["weights"].items()}
    missing, unexpected = pretext.load_state_dict(weights, strict=False)
    if unexpected or any(name.startswith("encoder.") for name in missing):
        raise SystemExit(f"{before} is not how {out} begins: {unexpected or missing}")
    (own,) = resume.of_ranks(pretext, torch.device("cpu"))
    state = {
        **theirs["state"],
        "crop": made.policy.state(),
        "waits": pretext.method.delays(recipe.train.batch) if pretext.method is not None else {},
        "ranks": [{**own, "generators": theirs["state"]["ranks"][0]["generators"]}],
    }
    content: dict[str, Any] = {**theirs, "weights": dict(pretext.state_dict()), "state": state}
    content["recipe"] = portable(made.resolved)
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    run_directory.describe(out, made.resolved, cache, {"train": cases.training_ids(cache, recipe.data)})
    for name in ("metrics.jsonl", "train.log"):
        shutil.copy(before / name, out / name)
    log.cut_back(out / "metrics.jsonl", step)
    checkpoint.save(out / "checkpoints" / resume.LAST, content)


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))
