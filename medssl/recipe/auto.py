"""Settings left to `auto` are taken from the images or, in fine-tuning, from the initial weights.

They are `spatial_dims`, `channels`, the preset of views or augmentation, and in fine-tuning encoder and decoder; a key
that is left out counts as auto. `medssl.runtime.known` looks at data and weights; this module fills in the values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from medssl.types import InputError

AUTO = "auto"
IMAGES = {"pretrain": "views", "finetune": "augment"}  # the group with the preset
KEYS = ("spatial_dims", "channels")  # in every recipe; a fine-tuning has its networks too
PRESET = "ct"  # if neither recipe nor data name one


class Known(NamedTuple):
    """What is known from the data and the initial weights; None if it is not known, or they do not exist yet."""

    spatial_dims: int | None = None
    channels: int | None = None
    preset: str | None = None
    encoder: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    seeing: dict[str, Any] | None = None  # settings of views in a resumed run whose defaults have changed since


def settle(verb: str, content: dict[str, Any], known: Known) -> dict[str, Any]:
    """The groups of a recipe with each `auto` replaced. Raises `InputError` for an encoder that is not known."""
    images = content.get(IMAGES[verb])
    images = dict(images) if isinstance(images, dict) else {}
    preset = images.get("preset", AUTO)
    if preset == AUTO:
        images.pop("preset", None)
        preset = known.preset or PRESET
        if preset != PRESET:
            images["preset"] = preset
    settled = {
        "spatial_dims": _asked(content, "spatial_dims") or known.spatial_dims or _axes(images.get("size")),
        "channels": _asked(content, "channels") or known.channels or (3 if preset == "pathology" else 1),
    }
    if verb == "finetune":
        settled |= _networks(content, known)
    found = {**content, **{key: value for key, value in settled.items() if value is not None or key == "decoder"}}
    if isinstance(content.get(IMAGES[verb]), dict):  # else validation says that it must be one
        found[IMAGES[verb]] = {**(known.seeing or {}), **images}
    return found


def _asked(content: dict[str, Any], key: str) -> Any:
    return None if content.get(key, AUTO) == AUTO else content[key]


def _networks(content: dict[str, Any], known: Known) -> dict[str, Any]:
    if content.get("encoder", AUTO) == AUTO and known.encoder is None:
        raise InputError(
            "encoder=auto uses the network of init=RUN, which is not given or does not describe its network: "
            "give init=RUN, or set encoder.kind (and decoder.kind for segmentation)"
        )
    encoder = known.encoder if content.get("encoder", AUTO) == AUTO else content["encoder"]
    decoder = known.decoder if content.get("decoder", AUTO) == AUTO else content["decoder"]
    return {"encoder": encoder, "decoder": decoder}


def _axes(size: Any) -> int | None:
    """The number of axes of the view or patch size (the first, if there are several)."""
    first = size[0] if isinstance(size, list) and size and isinstance(size[0], list) else size
    return len(first) if isinstance(first, list) else None


def allowed(verb: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a recipe as it is written, with `auto` allowed, from the schema of settled recipes."""
    keys = {"pretrain": KEYS, "finetune": (*KEYS, "encoder", "decoder")}.get(verb, ())
    either = {key: {"anyOf": [schema["properties"][key], {"const": AUTO}], "default": AUTO} for key in keys}
    required = [key for key in schema.get("required", []) if key not in keys]
    return {**schema, "properties": {**schema["properties"], **either}, "required": required}
