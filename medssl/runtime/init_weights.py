"""The initial weights of a run (`init=`), and whether the test patients were in their training data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from medssl.data import fingerprint
from medssl.data.arrays import file_digest
from medssl.engine import checkpoint
from medssl.models import foreign, gray, weights
from medssl.recipe.shipped import own_weights
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from torch import nn

    from medssl.data.cache import Cache
    from medssl.models.foreign import Foreign
    from medssl.recipe import Options

SCRATCH = "scratch"
OWN = "medssl:"  # before the name of weights that come with medssl


class Origin(NamedTuple):
    """The source of the initial weights; plain values, saved in checkpoints and results.json."""

    init: str  # "scratch", or the verb and step of the checkpoint
    parts: list[str]
    loaded: int  # tensors
    left_out: list[str]  # first part of the names: encoder, decoder, method, ...
    patients: list[str]  # keyed hashes of the patients the weights were trained on
    cache: str | None  # hash of the cache the weights were trained on
    preprocessing: dict[str, Any] | None
    digest: str = ""  # of the tensors that were loaded
    fingerprints: Sequence[str] = ()  # of the images they were trained on
    fingerprint_key: str = ""
    missing: Sequence[str] = ()  # names in the network that the weights lack: left as they were drawn
    adapted: Sequence[str] = ()  # tensors whose shape was changed to fit

    def seen(self, cache: Cache) -> Sequence[str]:
        """The fingerprints, if those of `cache` can be compared with them."""
        return self.fingerprints if self.fingerprint_key and self.fingerprint_key == cache.fingerprint_key else ()

    def sentence(self) -> str:
        """A sentence about what was loaded and left out."""
        if self.init == SCRATCH:
            return "starting from scratch"
        left = f"; left out: {', '.join(self.left_out)}" if self.left_out else "; nothing was left out"
        missing = (
            f"; not in the weights, so drawn at random: {', '.join(_parts(self.missing, 2))}" if self.missing else ""
        )
        adapted = f"; adapted to the image channels: {', '.join(self.adapted)}" if self.adapted else ""
        loaded = f"loaded {self.loaded} tensors of {', '.join(self.parts)}"
        return f"starting from {self.init}: {loaded}{left}{missing}{adapted}"


FRESH = Origin(SCRATCH, [], 0, [], [], None, None)


def start(model: nn.Module, options: Options, default: Sequence[str]) -> Origin:
    """Load `init=` and `init_parts=` into `model`, which is initialised as for scratch. Raises `InputError`."""
    if options.init is None or options.init == SCRATCH:
        return FRESH
    asked = options.init_parts or list(default)
    parts = [asked] if isinstance(asked, str) else list(asked)
    path = find(options.init)
    content, tensors = about(path), weights.read(path)
    other = None if "recipe" in content else foreign.recognise(tensors)
    if other is not None:
        return _start_from(other, model, parts if options.init_parts else ["encoder"], f"init={options.init}")
    if not options.init_parts and "decoder" in parts and "decoder" not in _parts(tensors):
        raise InputError(f"init={options.init} has no decoder: init_parts=[encoder] loads the encoder only")
    # weights trained on gray repeated as three channels give the same features for one channel
    channels = (gray.CHANNELS, 1) if gray.is_expanded(content.get("recipe", {})) else None
    report = weights.load(model, tensors, parts, source=f"init={options.init}", adapt_channels=channels)
    left_out = _parts(report.left_out)
    data, made = content.get("data", {}), content.get("verb", "weights of another tool")
    step = content.get("state", {}).get("step")
    name = made if step is None else f"{made}, step {step}"
    patients, cache, digest = data.get("patients", []), data.get("cache"), _digest(model, report.loaded)
    prints = {name: data[name] for name in ("fingerprints", "fingerprint_key") if name in data}
    made = content.get("preprocessing")
    return Origin(name, parts, len(report.loaded), left_out, patients, cache, made, digest, **prints)


def _start_from(other: Foreign, model: nn.Module, parts: list[str], source: str) -> Origin:
    """Load recognised weights of another tool into the encoder of `model`. Raises `InputError` if they do not fit."""
    stem = model.state_dict().get(f"encoder.{other.stem}")
    if stem is None or stem.ndim - 2 != other.spatial_dims:
        said = ", ".join(f"{key}={value}" for key, value in other.encoder.items())
        raise InputError(
            f"{source} holds {other.family}, in {other.spatial_dims}D, which this encoder is not: use encoder=auto, or "
            f"'encoder={{{said.replace('=', ': ')}}}'"
        )
    named = {f"encoder.{name}": tensor for name, tensor in other.tensors.items()}
    may_miss = [f"encoder.{name}" for name in other.may_miss]
    channels = (other.channels, stem.shape[1])
    report = weights.load(model, named, parts, source=source, adapt_channels=channels, may_miss=may_miss)
    left = _parts([*other.left_out, *(name.removeprefix("encoder.") for name in report.left_out)])
    digest, loaded = _digest(model, report.loaded), len(report.loaded)
    fresh = Origin(other.family, parts, loaded, left, [], None, None, digest)
    return fresh._replace(missing=report.missing, adapted=report.adapted)


def continued(content: Mapping[str, Any], model: nn.Module, options: Options, default: Sequence[str]) -> Origin:
    """The origin of a run that continues from checkpoint `content`; its initial weights need not exist any more.

    Raises `InputError` if `init=` now names other weights than the run started from. It may overwrite `model`.
    """
    before = Origin(**content["state"]["origin"])
    if options.init is None or (options.init != SCRATCH and not _there(options.init)):
        return before
    now = start(model, options, default)
    if now.digest != before.digest:
        raise InputError(
            f"resume=true continues a run that started from {before.init}, but init={options.init} gives other weights "
            f"({now.init}): leave init= out to continue, or choose another out="
        )
    return before


def _digest(model: nn.Module, names: Iterable[str]) -> str:
    """SHA-256 of tensors of `model`, by name."""
    found, tensors = hashlib.sha256(), model.state_dict()
    for name in sorted(names):
        found.update(name.encode())
        found.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _parts(names: Iterable[str], words: int = 1) -> list[str]:
    """The first words of tensor names: encoder, decoder, method, ..."""
    return list(dict.fromkeys(".".join(name.split(".")[:words]) for name in names))


def find(where: str | Path) -> Path:
    """The file of initial weights: of a run, of an export, a file itself, or `medssl:NAME`, weights of medssl's own.

    Raises `InputError`.
    """
    name = str(where).removeprefix(OWN)
    return checkpoint.find(where) if name == str(where) else own_weights(name)


def _there(init: str) -> bool:
    return init.startswith(OWN) or Path(init).exists()


def about(path: Path) -> dict[str, Any]:
    """The metadata of a medssl checkpoint, or of exported weights (config.json); empty for others."""
    if path.suffix == ".safetensors":
        return _exported(path)
    try:
        return checkpoint.load(path)
    except InputError:  # not a medssl checkpoint: `weights.read` checks it
        return {}


def _exported(path: Path) -> dict[str, Any]:
    """The metadata that `medssl export` wrote beside weights, in the form of a checkpoint's."""
    try:
        content = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
        wanted = content.get("sha256", {}).get(path.name)
        if wanted is not None and file_digest(path) != wanted:
            raise InputError(f"weights {path} are damaged (not the file of its config.json): fetch the folder again")
        return {key: content[key] for key in ("verb", "recipe", "preprocessing")} | {"state": {"step": content["step"]}}
    except (OSError, ValueError, KeyError, TypeError):  # written by another tool
        return {}


def overlap(origin: Origin, cache: Cache, test: Collection[str]) -> dict[str, Any]:
    """Test patients (keyed hashes) that the initial weights were trained on, and whether that is known."""
    seen = set(origin.patients)
    if origin.init == SCRATCH:
        return {
            "patients": [],
            "near_copies": [],
            "comparable": True,
            "sentence": "started from scratch: no patient was seen before",
        }
    shared = sorted(seen & set(test))
    comparable = origin.cache == cache.hash or bool(seen & cache.patients)
    if shared:
        sentence = (
            f"{len(shared)} of {len(set(test))} test patients were in the training data of the initial weights "
            "(without labels, if that was pretraining): the test is not on unseen patients"
        )
    elif comparable:
        sentence = f"none of {len(set(test))} test patients was in the training data of the initial weights"
    else:
        sentence = (
            "no patient of this cache was found in the training data of the initial weights; if the two were scanned "
            "with different keys, patients cannot be compared (scan both with the same --key)"
        )
    near = _near_copies(origin, cache, test)
    if near:
        sentence += f"; {len(near)} test images are near-copies of images that they were trained on"
    return {"patients": shared, "near_copies": near, "comparable": comparable, "sentence": sentence}


def _near_copies(origin: Origin, cache: Cache, test: Collection[str]) -> list[str]:
    """The ids of test cases that look as an image does which the starting weights were trained on."""
    ids = [name for name in cache.ids if cache.cases[name].patient in set(test)]
    found = fingerprint.pairs([cache.cases[name].fingerprint for name in ids], list(origin.seen(cache)))
    return sorted({ids[place] for place, _ in found})
