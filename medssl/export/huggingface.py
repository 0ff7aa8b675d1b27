"""A folder for the Hugging Face Hub: `model.safetensors`, `config.json`, `preprocessing.json` and a model card.

Nothing is uploaded. `medssl.load_encoder(FOLDER)` and `init=FOLDER` read it back, bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.data.arrays import file_digest
from medssl.export import card, learned
from medssl.models import weights

if TYPE_CHECKING:
    from torch import Tensor

    from medssl.export.learned import Learned

MODEL = "model.safetensors"


def export(
    run: Path,
    out: Path,
    *,
    name: str | None = None,
    license: str = "unknown",
    data: str | None = None,
    results: list[str] | None = None,
) -> Path:
    """Write encoder, decoder and head as one file, with all that is needed to use them, into `out`; returns `out`.

    Args:
        run: a run directory or checkpoint.
        out: a new folder.
        name: the title of the card.
        license: of the weights, as the Hub writes it (cc-by-sa-4.0); it follows from that of the images.
        data: a sentence that names the images and their source.
        results: runs of fine-tunings or probes from these weights, whose figures the card shows.

    Raises:
        InputError: `out` is taken, or one of `results` is no complete fine-tuning.
    """
    found = learned.read(run)
    told = card.Told(name, license, data, results or [])
    with learned.folder(out) as folder:
        named = {f"{part}.{key}": tensor for part, tensors in found.parts.items() for key, tensor in tensors.items()}
        weights.write(folder / MODEL, named)
        digest = file_digest(folder / MODEL)
        text = card.write(found, told, digest, _own(run))
        config = {**found.config(), "sha256": {MODEL: digest}, "library_name": "medssl"}
        _write(folder / "config.json", config)
        _write(folder / "preprocessing.json", _preprocessing(found))
        (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


def load(folder: Path) -> dict[str, Tensor]:
    """The tensors of an exported encoder, by name."""
    tensors = weights.read(folder / MODEL)
    return {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}


def _preprocessing(found: Learned) -> dict[str, Any]:
    """How images become what the network sees."""
    return {
        **found.preprocessing,
        "input": {
            "axes": ["batch", "channel", *("depth", "height", "width")[-found.recipe.spatial_dims :]],
            "channels": found.recipe.channels,
            "values": "[0, 1]: the window, or the range of each image, mapped there and cut",
            "trained_at": list(found.size()),
        },
    }


def _own(run: Path) -> dict[str, Any] | None:
    """The results of the run itself, if it is a complete fine-tuning."""
    file = Path(run) / "results.json"
    content: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    return content


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
