"""A recipe from a cache and a device: the rules of `rules.py`, applied in order, each said in the recipe's header."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from medssl.data.cache import Cache
from medssl.data.files import writable, write
from medssl.planning import fingerprint, memory, rules, text
from medssl.recipe import load, read
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.planning.fingerprint import Fingerprint
    from medssl.planning.memory import Cost

BASES = {
    ("cpu", 2): "dira_adco_ccrop_tiny_2d",
    ("cpu", 3): "dira_adco_ccrop_tiny_3d",
    ("cuda", 2): "dira_2d",
    ("cuda", 3): "dira_adco_ccrop_3d",
}
MULTIPLE = {"tiny": 8, "resnet": 32, "resenc": 16}  # of view sides, per kind of encoder
SHORTEST = {"resnet": 64}  # voxels of a view's side: it halves five times, and a norm needs more than one voxel


class Plan(NamedTuple):
    """What `medssl plan` found: the recipe as groups, and one sentence for each choice."""

    recipe: dict[str, Any]
    reasons: list[str]
    path: Path


def plan(
    cache: Path,
    out: Path,
    *,
    base: str | None = None,
    encoder: str = "auto",
    device: str = "auto",
    gigabytes: float | None = None,
) -> Plan:
    """Write a pretraining recipe for `cache` to `out`.

    `base` is the recipe whose method, losses and optimizers are kept; `gigabytes` is the memory to plan for, by default
    that of the device. Raises InputError if `out` is taken, the cache cannot be planned for, or nothing fits.
    """
    if out.exists():
        raise InputError(f"{out} exists already: delete it, or choose another --out")
    found = fingerprint.of(Cache(cache))
    where: rules.Device = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    if where == "cuda" and gigabytes is None and not torch.cuda.is_available():
        raise InputError(
            "there is no CUDA device to read its memory from: give it in GiB with --memory, e.g. --memory 24"
        )
    room = gigabytes * memory.GIB if gigabytes is not None else memory.available(where)
    dims = len(found.shape)
    content = _start(base or BASES[where, dims], found, cache)
    content["encoder"] = _encoder(content["encoder"], encoder, where, dims)
    needed = _fit(content, found, where, room)
    content["train"]["steps"] = rules.steps(found.cases, content["train"]["batch"], where)
    reasons = text.reasons(content, found, needed, room)
    with writable(out):
        write(out, text.recipe(content, reasons, base or BASES[where, dims], out))
    return Plan(content, reasons, out)


def _start(base: str, found: Fingerprint, cache: Path) -> dict[str, Any]:
    """The recipe to start from, about the images of the cache."""
    _, content = read("pretrain", base)
    dims = len(found.shape)
    if content.get("spatial_dims", "auto") not in ("auto", dims):
        raise InputError(f"the images have {dims} dimensions, but {base} is for {content['spatial_dims']}: see --base")
    views = {key: value for key, value in content["views"].items() if key != "preset"}
    if content["views"].get("preset", "auto") not in ("auto", found.preset):  # its changes are for another modality
        views = {key: value for key, value in views.items() if key not in ("warp", "intensity")}
    if isinstance(views.get("size", [0])[0], list):
        raise InputError(f"{base} has views of several sizes, which a plan cannot choose: give another --base")
    content["views"] = {**views, "preset": found.preset}
    workers = content.get("data", {}).get("workers", 0)
    data = {"cache": str(cache.absolute()), "workers": workers}
    first = {"seed": content.get("seed", 0), "spatial_dims": dims, "channels": found.channels, "data": data}
    return {**first, **{key: value for key, value in content.items() if key not in first}}


def _encoder(given: dict[str, Any], asked: str, where: str, dims: int) -> dict[str, Any]:
    """The encoder group: that of the recipe, or another kind with the norm that suits it."""
    kind = asked if asked != "auto" else given["kind"]
    if kind not in MULTIPLE:
        raise InputError(f"a plan can use the encoders {', '.join(MULTIPLE)}, not {kind!r}: choose one with --encoder")
    if kind == given["kind"]:
        return given
    norm = {"tiny": "sync_batch" if dims == 2 else "group", "resenc": "instance"}.get(kind, "batch")
    return {"kind": kind, "norm": norm if where == "cpu" or dims == 2 or kind == "tiny" else "instance"}


def _fit(content: dict[str, Any], found: Fingerprint, where: rules.Device, room: float) -> float:
    """Set views, stages and batch to the largest views whose least batch fits; returns the bytes of a step.

    Raises InputError if nothing fits.
    """
    dims, kind = len(found.shape), content["encoder"]["kind"]
    multiple, shortest = MULTIPLE[kind], SHORTEST.get(kind, 0)
    wanted, widths = content["train"]["batch"], list(content["encoder"].get("channels", (16, 32, 64, 128)))
    least = min(rules.LEAST_BATCH[dims], wanted, max(found.cases // 2, 2))
    edge = rules.EDGE[where, dims]
    size: tuple[int, ...] | None = rules.view_size(found.extent, found.spacing, edge, multiple, shortest)
    while size is not None:
        _set_size(content, found, size, widths)
        cost = memory.cost(load("pretrain", content)[0])
        batch = rules.batch(wanted, found.cases, partial(_fits, cost, rules.FREE * room))
        shorter = rules.smaller(size, multiple, shortest)
        if batch >= least or (batch and shorter is None):
            content["train"]["batch"] = batch
            return cost.of(batch)
        size = shorter
    raise InputError(
        f"{room / memory.GIB:.1f} GiB cannot hold 2 samples of the smallest views of this network: "
        "choose --encoder tiny, or plan for more memory with --memory"
    )


def _fits(cost: Cost, room: float, batch: int) -> bool:
    return cost.of(batch) <= room


def _set_size(content: dict[str, Any], found: Fingerprint, size: Sequence[int], widths: list[int]) -> None:
    """Write the size of views, and what follows from it, into the recipe."""
    encoder = content["encoder"]
    content["views"]["size"] = list(size)
    if encoder["kind"] == "tiny":
        encoder["channels"] = widths[: rules.levels(size, len(widths))]
    if encoder["kind"] == "resenc":
        sides = rules.crop_sides(found.extent)
        made = rules.stages(size, [side / n for side, n in zip(sides, size, strict=True)])
        encoder["strides"], encoder["kernels"] = made
    if (scale := rules.crop_scale(size, found.spacing, found.extent)) is not None:
        content["crop"]["scale"] = list(scale)
