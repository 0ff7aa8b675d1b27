"""A trained run as all export formats use it, and the new folder that a format writes into."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl import __version__
from medssl.build import compatibility
from medssl.build import parts as build_parts
from medssl.data.files import writable
from medssl.engine import checkpoint
from medssl.models import sizes, weights
from medssl.recipe import FRAMES, FinetuneRecipe, PretrainRecipe, validate
from medssl.recipe.paths import portable
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

PARTS = ("encoder", "decoder", "head")  # what is useful elsewhere; method, bank and discriminator are not exported
PATENT = "Restorative and adversarial branches follow DiRA, for which a patent is pending: see the README of medssl."


class Learned(NamedTuple):
    """A trained run, read from its checkpoint."""

    content: dict[str, Any]
    parts: dict[str, dict[str, Tensor]]  # those of encoder, decoder and head that the run has: tensors by name
    recipe: PretrainRecipe | FinetuneRecipe
    preprocessing: dict[str, Any]

    @property
    def dense(self) -> bool:
        """Whether it is a segmentation."""
        return self.content["verb"] == "finetune" and "decoder" in self.parts

    def encoder(self) -> Any:
        """The encoder with its weights, in evaluation mode."""
        return build_parts.trained_encoder(self.recipe, weights.as_part(self.parts["encoder"], "encoder")).eval()

    def divisor(self) -> tuple[int, ...]:
        """By what each side of an image must be divisible; no network with weights is built for it."""
        with compatibility.without_weights():
            return sizes.per_axis(build_parts.encoder(self.recipe).divisor, self.recipe.spatial_dims)

    def size(self) -> tuple[int, ...]:
        """The training size: of the first view, or of the patch."""
        group = self.recipe.views if isinstance(self.recipe, PretrainRecipe) else self.recipe.augment
        size = group["size"]
        return tuple(size[0] if isinstance(size[0], list) else size)

    def config(self) -> dict[str, Any]:
        """The content of config.json, without paths."""
        return {
            "medssl": __version__,
            "verb": self.content["verb"],
            "step": self.content["state"]["step"],
            "parts": {
                name: {
                    "tensors": len(tensors),
                    "parameters": sum(t.numel() for t in _once(tensors) if t.is_floating_point()),
                }
                for name, tensors in self.parts.items()
            },
            "samples": self.content["data"]["samples"],
            "cache": self.content["data"]["cache"],
            "preprocessing": self.preprocessing,
            "recipe": self.plain_recipe(),
        }

    def plain_recipe(self) -> dict[str, Any]:
        """The recipe with all defaults, without paths, as these may contain names."""
        return portable(self.content["recipe"])


def _once(tensors: dict[str, Tensor]) -> list[Tensor]:
    """Each tensor once, even if it has several names."""
    return list({(t.data_ptr(), t.shape, t.stride()): t for t in tensors.values()}.values())


def read(run: Path) -> Learned:
    """The last weights of a pretraining, or the best of a fine-tuning. Raises `InputError`."""
    content = checkpoint.load(checkpoint.find(run))
    if content.get("verb") not in ("pretrain", "finetune"):
        raise InputError(f"{run} is not a pretraining or fine-tuning of medssl: give a run directory")
    found = {name: weights.of_part(content["weights"], name) for name in PARTS}
    recipe = validate(FRAMES[content["verb"]], content["recipe"], f"the recipe in {run}")
    return Learned(content, {k: v for k, v in found.items() if v}, recipe, content["preprocessing"])


@contextmanager
def folder(out: Path) -> Iterator[Path]:
    """The new folder `out` to write into. Raises `InputError` if it is not empty or cannot be written."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is not empty: choose another folder")
    with writable(f"--out {out}", advice="choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
        yield out
