"""Load weights from files and checkpoints into networks. Everything is checked before anything is changed."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from medssl import __version__
from medssl.data.files import writing
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


WRAPPERS = ("weights", "state_dict", "network_weights", "model", "net", "student", "teacher")  # keys of state dicts
ALIASES = "aliases"  # in the header of a .safetensors file: further names of its tensors


class LoadReport(NamedTuple):
    """Names of the tensors that were loaded, and of those in the weights that were not needed."""

    loaded: list[str]
    left_out: list[str]
    missing: list[str]  # of the network: not in the weights, and left as they were
    adapted: list[str]  # whose shape was changed to fit, as sentences


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file, a medssl checkpoint or a saved state dict; runs no code in the file.

    Raises InputError if the file cannot be read, is damaged or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"weights {path} are damaged or hold more than tensors: save the state dict alone") from error
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(
            f"weights {path} hold a {type(content).__name__} instead of a state dict: save the state dict alone"
        )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as .safetensors, which holds each once: the further names of a tensor stand in its header.

    nnU-Net's residual encoder names every layer twice. `read` gives all names back.
    """
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    for name, tensor in tensors.items():
        known = first.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), name)
        if known != name and tensor.numel() > 0:
            aliases[name] = known
        else:
            kept[name] = tensor.detach().cpu().contiguous().clone()
    header = {"format": "pt", "medssl": __version__, **({ALIASES: json.dumps(aliases)} if aliases else {})}
    with writing(path) as beside:
        beside.write_bytes(save(kept, metadata=header))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        aliases = json.loads((file.metadata() or {}).get(ALIASES, "{}"))
    return tensors | {name: tensors[first] for name, first in aliases.items()}


def of_part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part ("encoder", ...), by their names within it.

    >>> list(of_part({"encoder.conv.weight": torch.zeros(1), "head.bias": torch.zeros(1)}, "encoder"))
    ['conv.weight']
    """
    start = f"{part}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def as_part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors by their names in a network of which they are one part: what `of_part` undoes."""
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def load(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    parts: Sequence[str],
    *,
    source: str = "checkpoint",
    adapt_channels: tuple[int, int] | None = None,
    may_miss: Sequence[str] = (),
) -> LoadReport:
    """Copy the tensors of the named parts from `weights` into the network `module`.

    Args:
        weights: tensors by name; names without a part (public weights: conv1.weight, ...) belong to the encoder.
        parts: "encoder", "decoder", ... or "all".
        source: what error messages call the weights.
        adapt_channels: image channels (of the weights, of the network): adapts the first convolution if they differ.
        may_miss: beginnings of names that the weights need not have.

    Raises InputError if a tensor of these parts is missing or has another shape; nothing is changed then.

    >>> one, two = (nn.ModuleDict({"encoder": nn.Linear(4, 2), "head": nn.Linear(2, 2)}) for _ in range(2))
    >>> load(two, one.state_dict(), ["encoder"]).loaded
    ['encoder.weight', 'encoder.bias']
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if _inside(name, parts)}
    for part in parts:
        if part != "all" and not any(_inside(name, [part]) for name in wanted):
            raise InputError(f"{part} was asked for from {source}, but the network has no such part: leave it out")
    if list(parts) == ["encoder"] and not any(_inside(name, parts) for name in weights):
        weights = as_part(weights, "encoder")
    missing = [name for name in wanted if name not in weights and name.startswith(tuple(may_miss))]
    chosen = {
        name: _fitting(name, weights.get(name), tensor, source, adapt_channels)
        for name, tensor in wanted.items()
        # weights older than torch 0.4 have no num_batches_tracked
        if name not in missing and (name in weights or not name.endswith(".num_batches_tracked"))
    }
    module.load_state_dict(chosen, strict=False)
    adapted = [f"{n} {_shape(weights[n])} to {_shape(t)}" for n, t in chosen.items() if t.shape != weights[n].shape]
    return LoadReport(list(chosen), [name for name in weights if name not in chosen], missing, adapted)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _inside(name: str, parts: Sequence[str]) -> bool:
    return "all" in parts or name.startswith(tuple(f"{part}." for part in parts))


def _fitting(name: str, found: Tensor | None, wanted: Tensor, source: str, channels: tuple[int, int] | None) -> Tensor:
    if found is None:
        raise InputError(
            f"{source} has no tensor {name} (shape {list(wanted.shape)}): use the encoder settings of that checkpoint, "
            "or load fewer parts with init_parts=[...]"
        )
    if channels is not None and found.shape != wanted.shape:
        found = _with_channels(found, wanted, *channels)
    if found.shape != wanted.shape:
        raise InputError(
            f"{name} is {list(found.shape)} in {source} but {list(wanted.shape)} in the network: "
            "use the channels and encoder settings of those weights, or load fewer parts with init_parts=[...]"
        )
    return found


def _with_channels(found: Tensor, wanted: Tensor, before: int, after: int) -> Tensor:
    """A first convolution for `after` channels: each gets the mean over `before`, scaled so that copies agree."""
    only_inputs_differ = found.ndim > 2 and found[:, :1].shape == wanted[:, :1].shape
    if not only_inputs_differ or found.shape[1] * after != wanted.shape[1] * before:
        return found
    by_channel = found.unflatten(1, (before, -1))  # a space-to-depth stem has several inputs per channel
    return (by_channel.sum(1) / after).repeat(1, after, *[1] * (found.ndim - 2))
