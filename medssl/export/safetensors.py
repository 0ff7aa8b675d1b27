"""Weights as safetensors, one file per part, and the recipe: other tools read them without running code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medssl import __version__
from medssl.data.files import write, write_json
from medssl.export import learned
from medssl.kinds import resolve
from medssl.models import gray, weights

if TYPE_CHECKING:
    from torch import Tensor

    from medssl.export.learned import Learned

README = """# Weights exported by medssl {version}

Made by `medssl {verb}`: {listing}.
Images: preset {preset}, {channels} channel(s), {dims}D; see `config.json` for recipe and preprocessing.
{licence}
```python
import medssl

encoder = medssl.load_encoder(".")  # this folder; in evaluation mode
```

`medssl finetune RECIPE init=encoder.safetensors init_parts=[encoder]` starts from it. Its network is `{module}`
with {stem} input channel(s){copies}; the tensors of the file have the names of its `state_dict`.
"""


def export(run: Path, out: Path) -> Path:
    """Write the encoder (decoder, head) of a run, config.json and README.md into `out`; returns `out`.

    These are the last weights of a pretraining, the best of a fine-tuning. Raises `InputError` if `out` is not empty.
    """
    found = learned.read(run)
    with learned.folder(out) as folder:
        for name, tensors in found.parts.items():
            weights.write(folder / f"{name}.safetensors", tensors)
        write_json(folder / "config.json", found.config())
        write(folder / "README.md", _readme(found))
    return folder


def load(folder: Path) -> dict[str, Tensor]:
    """The tensors of an exported encoder, by name."""
    return weights.read(folder / "encoder.safetensors")


def _readme(found: Learned) -> str:
    recipe, config = found.content["recipe"], found.config()
    return README.format(
        version=__version__,
        verb=config["verb"],
        listing=", ".join(f"{name} ({about['parameters']:,} parameters)" for name, about in config["parts"].items()),
        preset=found.preprocessing["preset"],
        channels=recipe["channels"],
        stem=gray.CHANNELS if gray.is_expanded(recipe) else recipe["channels"],
        copies=", copies of the gray image" if gray.is_expanded(recipe) else "",
        dims=recipe["spatial_dims"],
        module=resolve("encoder", recipe["encoder"]["kind"]).__name__,
        licence=f"\n{learned.PATENT}\n" if recipe.get("restore") is not None else "",
    )
