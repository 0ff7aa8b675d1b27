"""Weights as safetensors, one file a part, with the recipe beside them: what other tools read without running code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save

from medssl import __version__
from medssl.data import atomic
from medssl.engine import checkpoint
from medssl.kinds import resolve
from medssl.models import gray
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("encoder", "decoder", "head")  # what is of use to others; method, bank and discriminator stay behind
README = """# Weights exported by medssl {version}

Made by `medssl {verb}`: {listing}.
Images: preset {preset}, {channels} channel(s), {dims}D; see `config.json` for recipe and preprocessing.
{licence}
```python
import json
from importlib import import_module

from safetensors.torch import load_file

recipe = json.load(open("config.json"))["recipe"]
settings = {{name: value for name, value in recipe["encoder"].items() if name != "kind"}}
encoder = import_module("{module}").build(spatial_dims={dims}, in_channels={stem}, **settings){copies}
encoder.load_state_dict(load_file("encoder.safetensors"))
```

In medssl itself: `medssl finetune RECIPE init=encoder.safetensors init_parts=[encoder]`.
"""
PATENT = """
Restorative and adversarial branch follow DiRA, whose authors hold a patent on it: see the notice in medssl's README.
"""


def export(run: Path, out: Path) -> Path:
    """Write the encoder (decoder, head) of a run, config.json and README.md into `out`; returns `out`.

    A pretraining gives its last weights, a fine-tuning its best. Raises `InputError` if `out` is taken.
    """
    content = checkpoint.load(checkpoint.find(run))
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is not empty: name another folder")
    parts = {name: _part(content["weights"], name) for name in PARTS}
    parts = {name: tensors for name, tensors in parts.items() if tensors}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, tensors in parts.items():
            _save(out / f"{name}.safetensors", tensors)
        (out / "config.json").write_text(json.dumps(_config(content, parts), indent=1) + "\n")
        (out / "README.md").write_text(_readme(content, parts))
    except OSError as error:
        raise InputError(f"--out {out} cannot be written to ({error.strerror}): choose another folder") from error
    return out


def load(folder: Path) -> dict[str, Tensor]:
    """The tensors of an exported encoder, by name."""
    return load_file(folder / "encoder.safetensors")


def _part(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part without its name; copied, since safetensors refuses tensors that share memory."""
    prefix = f"{part}."
    chosen = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in chosen.items()}


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic.writing(path) as beside:
        beside.write_bytes(save(tensors, metadata={"format": "pt", "medssl": __version__}))


def _config(content: dict[str, Any], parts: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    data = {key: None for key in ("cache", "manifest", "splits")}  # paths may hold names
    return {
        "medssl": __version__,
        "verb": content["verb"],
        "step": content["state"]["step"],
        "parts": {
            name: {
                "tensors": len(tensors),
                "parameters": sum(t.numel() for t in tensors.values() if t.is_floating_point()),
            }
            for name, tensors in parts.items()
        },
        "samples": content["data"]["samples"],
        "preprocessing": content["preprocessing"],
        "recipe": {**content["recipe"], "data": {**content["recipe"]["data"], **data}},
    }


def _readme(content: dict[str, Any], parts: dict[str, dict[str, Tensor]]) -> str:
    recipe = content["recipe"]
    config = _config(content, parts)
    return README.format(
        version=__version__,
        verb=content["verb"],
        listing=", ".join(f"{name} ({about['parameters']:,} parameters)" for name, about in config["parts"].items()),
        preset=content["preprocessing"]["preset"],
        channels=recipe["channels"],
        stem=gray.CHANNELS if gray.is_expanded(recipe) else recipe["channels"],
        copies="  # three copies of the gray image" if gray.is_expanded(recipe) else "",
        dims=recipe["spatial_dims"],
        module=resolve("encoder", recipe["encoder"]["kind"]).__name__,
        licence=PATENT if recipe.get("restore") is not None else "",
    )
