"""Make the intensity changes and the corruption that a recipe names, or refuse them with a clear message."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from medssl.kinds import kinds, resolve
from medssl.messages import suggest
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from medssl.transforms.base import RandTransform
    from medssl.transforms.corruption.base import Corruption

NOT_IN_RECIPES = ("keys", "allow_missing_keys", "references")  # set by medssl, or images


def changes(specs: Sequence[Mapping[str, Any]], spatial_dims: int, channels: int | None = None) -> list[RandTransform]:
    """Make the intensity changes [{"kind": "gamma", "prob": 0.5}, ...] for images with `channels` (None: not known).

    Raises InputError for unknown kinds and keys, bad values, changes that do not fit such images, and for a change that
    needs unclipped values but is not the first.
    """
    made: list[RandTransform] = [_made("intensity", dict(spec), spatial_dims) for spec in specs]
    for number, (spec, transform) in enumerate(zip(specs, made, strict=True)):
        if transform.unclipped and number > 0:
            raise InputError(
                f"intensity: {spec['kind']} needs values not yet clipped to 0..1: give it once, and first in the list"
            )
        try:
            transform.fits(spatial_dims, channels)
        except InputError as error:
            raise InputError(f"intensity: {error}") from error
    return made


def corruption(spec: Mapping[str, Any], spatial_dims: int) -> Corruption:
    """Make the corruption {"kind": "mask", "ratio": 0.5, ...}; raises InputError for unknown names and bad values."""
    made: Corruption = _made("corrupt", dict(spec), spatial_dims)
    return made


def _made(group: str, spec: dict[str, Any], spatial_dims: int) -> Any:
    """Call the `build` of a kind with its arguments, and with `spatial_dims` if it has that argument."""
    if "kind" not in spec:
        raise InputError(f"{group}: {spec} has no `kind`, give one of {', '.join(kinds(group))}")
    kind = spec.pop("kind")
    if not isinstance(kind, str) or "." not in kind:
        known(group, kind, kinds(group))
    build = resolve(group, kind).build
    names = set(inspect.signature(build).parameters)
    supplied = {"spatial_dims": spatial_dims} if "spatial_dims" in names else {}
    for key in spec:
        known(f"{group} {kind}", key, names - {*NOT_IN_RECIPES, *supplied})
    try:
        return build(**spec, **supplied)
    except InputError as error:
        raise InputError(f"{group} {kind}: {error}") from error


def known(group: str, name: Any, names: Collection[str]) -> str:
    """Return `name` if it is one of `names`. Raises InputError, with a suggestion, if not."""
    if isinstance(name, str) and name in names:
        return name
    raise InputError(f"{group}: {name} is not known{suggest(str(name), names)}")
