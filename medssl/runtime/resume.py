"""The part of a checkpoint that all programs have in common: which run it belongs to, and the state of each rank."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from medssl import ranks
from medssl.engine import checkpoint
from medssl.recipe import later
from medssl.recipe.paths import PATHS
from medssl.runtime import run_directory
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from medssl.data.cache import Cache

LAST = "last.pt"
SINCE = {"corrupt_for": "all"}  # keys of views that older runs do not have, with the values they used
ELSEWHERE = tuple(f"data.{key}" for key in (*PATHS, "workers"))  # the place of the data does not change a run


def last(out: Path, verb: str) -> dict[str, Any] | None:
    """The last checkpoint of a run directory, if there is one. Raises `InputError` if another verb wrote it."""
    path = out / "checkpoints" / LAST
    if not path.is_file():
        return None
    content = checkpoint.load(path)
    if content.get("verb") != verb:
        raise InputError(
            f"out={out} holds a {content.get('verb')} run, which {verb} cannot continue: choose another out=, "
            f"and init={out} to start from its weights"
        )
    images = content["recipe"].get("views") or {}
    images.update({key: value for key, value in SINCE.items() if key not in images})
    return content


def check_recipe(content: Mapping[str, Any], recipe: Mapping[str, Any], world: int) -> None:
    """Raise `InputError`, naming the differences, if the recipe or the number of ranks has changed."""
    lines = run_directory.differences(later.without(content["recipe"]), later.without(recipe))
    lines = [line for line in lines if not line.startswith(ELSEWHERE)]
    if (before := len(content["state"]["ranks"])) != world:
        lines.append(f"the number of devices is {world}, was {before}")
    _refuse(lines)


def check_data(content: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raise `InputError` if the data has changed."""
    lines = []
    if content["data"]["cache"] != data["cache"]:
        lines.append("the data in the cache has changed")
    elif content["data"]["ids"] != data["ids"]:
        now, had = data["samples"], content["data"]["samples"]
        lines.append(f"the cases in the subsets have changed ({now} training cases, {had} before)")
    _refuse(lines)


def _refuse(lines: Sequence[str]) -> None:
    if lines:
        raise InputError(
            f"resume=true can only continue the same run, but {'; '.join(lines[:3])}: "
            "undo that, or start a new run with init= and another out="
        )


def data(
    cache: Cache, subsets: Mapping[str, Sequence[str]], before: Collection[str] = (), seen: Collection[str] = ()
) -> dict[str, Any]:
    """The description of the data in a checkpoint.

    `before` are the patients and `seen` the image fingerprints of the initial weights.
    """
    patients = {cache.cases[name].patient for name in subsets["train"]} | set(before)
    return {
        "patients": sorted(patients),
        "fingerprints": sorted({cache.cases[name].fingerprint for name in subsets["train"]} | set(seen)),
        "fingerprint_key": cache.fingerprint_key,
        "cache": cache.hash,
        "ids": hashlib.sha256(repr(sorted(subsets.items())).encode()).hexdigest(),
        "samples": len(subsets["train"]),
    }


def of_ranks(module: nn.Module, device: torch.device) -> list[dict[str, Any]]:
    """The state that differs between ranks, one entry per rank: random generators and batch-norm statistics."""
    own = {
        "generators": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        },
        "norms": {name: buffer.cpu().clone() for name, buffer in norms(module).items()},
    }
    if ranks.world() == 1:
        return [own]
    every: list[Any] = [None] * ranks.world()
    torch.distributed.all_gather_object(every, own)
    return every


def take(module: nn.Module, device: torch.device, every: Sequence[Mapping[str, Any]]) -> None:
    """Restore the state of this rank from `of_ranks`."""
    own = every[ranks.rank()]
    torch.set_rng_state(own["generators"]["cpu"])
    if own["generators"]["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(own["generators"]["cuda"], device)
    for name, buffer in norms(module).items():
        buffer.copy_(own["norms"][name])


def agree(module: nn.Module) -> None:
    """Average batch-norm running statistics over ranks, so that all ranks evaluate the same network."""
    for buffer in norms(module).values():
        buffer.copy_(ranks.gather(buffer[None]).double().mean(0))


def norms(module: nn.Module) -> dict[str, torch.Tensor]:
    """The buffers of batch norms by name; they differ between ranks, each of which sees its part of the batch."""
    return {
        f"{name}.{key}": buffer
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
        for key, buffer in part.named_buffers(recurse=False)
    }
