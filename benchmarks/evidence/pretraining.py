"""One pretraining of the plan, by the command line as a user would, and its weights kept small."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import beginning
import torch
from data import pool_source
from safetensors.torch import save_file
from store import PLAN, WEIGHTS, append, rows

from medssl.build import parts
from medssl.data.cache import Cache
from medssl.engine import checkpoint, log
from medssl.recipe import load
from medssl.runtime import resume
from medssl.times import steps_of

if TYPE_CHECKING:
    from torch import nn

LARGEST = 4_000_000  # bytes of a file of weights that is kept


def name(arm: str, pool: str, seed: int) -> str:
    """What a pretraining is called in rows, folders and files."""
    return f"{pool}.{arm}.{seed}"


def done() -> set[str]:
    """The pretrainings that have finished."""
    return {row["unit"] for row in rows("pretrainings")}


def pretrain(arm: str, pool: str, seed: int, data: Path, work: Path) -> Path:
    """Run or go on with a pretraining; returns its run directory. Ends the program if it fails."""
    about, out = PLAN["arms"][arm], work / "runs" / name(arm, pool, seed)
    settings = [*about.get("set", []), *_data(pool, data, work), f"seed={seed}", f"out={out}", "resume=true"]
    recipe = load("pretrain", about["recipe"], settings)[0]
    steps = math.ceil(about.get("samples", PLAN["samples"]) / recipe.train.batch)
    if "begins_as" in about and not (out / "checkpoints" / resume.LAST).exists():
        other = pretrain(about["begins_as"]["arm"], pool, seed, data, work)
        whole = load("pretrain", about["recipe"], [*settings[:-2], f"train.steps={steps}"])[0]
        until = steps_of(about["begins_as"]["until"], steps)
        beginning.begin(out, other, until, whole, Cache(pool_source(pool, data, work).cache))
    command = ["pretrain", about["recipe"], *settings, f"train.steps={steps}"]
    subprocess.run([sys.executable, "-m", "medssl.cli", *command], check=True, stdout=subprocess.DEVNULL)
    if name(arm, pool, seed) not in done():
        append("pretrainings", [_row(arm, pool, seed, out, steps, recipe)])
    return out


def untrained(arm: str, seed: int) -> nn.Module:
    """The encoder of an arm before training."""
    torch.manual_seed(seed)
    return parts.encoder(load("pretrain", PLAN["arms"][arm]["recipe"], [])[0])


def keep(run: Path, unit: str) -> None:
    """Write encoder and decoder as float16, if they are small enough."""
    content = checkpoint.load(run / "checkpoints" / "last.pt")
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in content["weights"].items()
        if key.startswith(("encoder.", "decoder."))
    }
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) < LARGEST:
        WEIGHTS.mkdir(exist_ok=True)
        save_file(tensors, WEIGHTS / f"{unit}.safetensors", {"unit": unit, "step": str(content["state"]["step"])})


def _data(pool: str, data: Path, work: Path) -> list[str]:
    about = PLAN["pools"][pool]
    found = pool_source(pool, data, work)
    where = [f"data.cache={found.cache}", f"views.preset={about['preset']}"]
    if "subset" not in about:
        return where
    named = [f"data.splits={data / about['folder'] / 'splits.json'}", f"data.key={found.cache}.key"]
    return [*where, *named, f"data.train={about['subset']}"]


def _row(arm: str, pool: str, seed: int, out: Path, steps: int, recipe: Any) -> dict[str, Any]:
    lines = log.read(out / "metrics.jsonl")
    curve = [line for at, line in enumerate(lines) if at % max(1, len(lines) // 20) == 0 or line is lines[-1]]
    kept = ("step", "samples")
    shown = [{k: v for k, v in line.items() if k in kept or k.startswith(("loss.", "metric."))} for line in curve]
    about = {"unit": name(arm, pool, seed), "arm": arm, "pool": pool, "seed": seed, "steps": steps}
    if begins_as := PLAN["arms"][arm].get("begins_as"):
        about["begins_as"] = begins_as
    return {**about, "samples": steps * recipe.train.batch, "recipe": recipe.hash(), "curve": shown}
