"""What a recipe may name: kinds of intensity change and corruption, made of what it says or refused in a sentence."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from medssl.transforms import distort
from medssl.transforms.intensity import (
    RandBezierIntensityd,
    RandBiasFieldd,
    RandBlurNoised,
    RandGammad,
    RandHistogramShiftd,
)
from medssl.transforms.stain import RandStainJitterd, RandStainMatchd, Stain
from medssl.transforms.window import RandWindowJitterd
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medssl.transforms.base import RandTransform
    from medssl.transforms.corrupt import Corruption

INTENSITY: dict[str, Callable[..., RandTransform]] = {
    "bezier": RandBezierIntensityd,
    "bias_field": RandBiasFieldd,
    "blur_noise": RandBlurNoised,
    "gamma": RandGammad,
    "histogram_shift": RandHistogramShiftd,
    "stain_jitter": RandStainJitterd,
    "stain_match": RandStainMatchd,
    "window_jitter": RandWindowJitterd,
}
CORRUPT: dict[str, Callable[..., Corruption]] = {
    "dira": distort.dira,
    "transvw": distort.transvw,
    "genesis": distort.genesis,
    "mask": distort.mask,
}
NOT_IN_RECIPES = ("keys", "allow_missing_keys", "references")  # what views give themselves, and images


def changes(specs: Sequence[Mapping[str, Any]], spatial_dims: int, channels: int | None = None) -> list[RandTransform]:
    """Make the changes of intensity {"kind": "gamma", "prob": 0.5, ...} for images of `channels`, None: not known.

    Raises InputError for unknown kinds and keys, bad values, stains in gray images, a window jitter that is not first.
    """
    made = [_change(dict(spec)) for spec in specs]
    if any(isinstance(transform, RandWindowJitterd) for transform in made[1:]):
        raise InputError(
            "intensity: window_jitter needs values that nothing has cut to 0..1 yet: give it once, first in the list"
        )
    stains = [type(transform).__name__ for transform in made if isinstance(transform, Stain)]
    if stains and (spatial_dims != 2 or channels not in (None, 3)):
        raise InputError(
            f"intensity: {stains[0]} needs RGB images in 2D, but spatial_dims is {spatial_dims} and channels is "
            f"{channels}: set channels=3 if they are RGB, or take another preset, or an intensity list without it"
        )
    return made


def _change(spec: dict[str, Any]) -> RandTransform:
    """One change of intensity. Views are in units of the case's window, so that no other can be named here."""
    supplied = {"window": (0.0, 1.0)} if spec.get("kind") == "window_jitter" else {}
    if supplied and "window" in spec:
        raise InputError(
            f"intensity window_jitter: window is {spec['window']}, but what is moved is the window that the data were "
            "prepared with: leave it out"
        )
    made: RandTransform = _made("intensity", INTENSITY, spec, **supplied)
    return made


def corruption(spec: Mapping[str, Any], spatial_dims: int) -> Corruption:
    """Make the corruption {"kind": "mask", "ratio": 0.5, ...}; raises InputError for unknown names and bad values."""
    made: Corruption = _made("corrupt", CORRUPT, dict(spec), spatial_dims=spatial_dims)
    return made


def _made(group: str, kinds: Mapping[str, Callable[..., Any]], spec: dict[str, Any], **supplied: Any) -> Any:
    if "kind" not in spec:
        raise InputError(f"{group}: {spec} has no kind, give one of {', '.join(sorted(kinds))}")
    kind = spec.pop("kind")
    make = known(group, kind, kinds)
    allowed = set(inspect.signature(make).parameters) - {*NOT_IN_RECIPES, *supplied}
    for key in spec:
        known(f"{group} {kind}", key, dict.fromkeys(allowed))
    try:
        return make(**spec, **supplied)
    except InputError as error:
        raise InputError(f"{group} {kind}: {error}") from error


def known(group: str, name: Any, names: Mapping[str, Any]) -> Any:
    """Look `name` up, or say what was probably meant."""
    if isinstance(name, str) and name in names:
        return names[name]
    close = get_close_matches(str(name), names, 1)
    meant = f"did you mean {close[0]}?" if close else f"give one of {', '.join(sorted(names))}"
    raise InputError(f"{group}: {name} is not known, {meant}")
