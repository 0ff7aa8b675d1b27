"""Augmentation that suits the image: one preset a modality, each with its reasons, and a recipe's changes to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl.transforms import named
from medssl.transforms.resampling.warp import WarpSettings
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medssl.transforms.base import RandTransform
    from medssl.transforms.corruption.base import Corruption
    from medssl.types import Window


class Preset(NamedTuple):
    """How views of one modality are made: geometry, then intensity in order, then one corruption or none."""

    warp: WarpSettings
    intensity: list[RandTransform]
    corrupt: Corruption | None
    share: float | None = None  # elastic as a part of the view's side, where no length in mm suits every spacing

    @property
    def keep_unclipped(self) -> bool:
        """Whether intensity changes start from values beyond the case's window, since the first one moves it."""
        return bool(self.intensity) and self.intensity[0].unclipped

    def moves(self, window: Window, spacing: tuple[float, ...]) -> WarpSettings:
        """How far a view of `window` is moved, with `spacing` in mm."""
        if self.share is None:
            return self.warp
        side = math.prod(s * mm for s, mm in zip(window.size, spacing, strict=True)) ** (1 / len(spacing))
        return self.warp._replace(elastic=self.share * side)


def ct(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """CT: numbers mean tissue (HU), so curves are gentle and never inverted; the window moves as a reader moves it.

    Mirroring left and right is allowed, since what is learned is texture and shape rather than side; up and down is
    not, since patients lie, and fluid levels and gravity are real. Noise and blur stand for dose and kernel. Patients
    are turned in plane more than they are tilted.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 15, 8), zoom=0.1, elastic=3.0)
    return geometry, [
        {"kind": "window_jitter", "prob": 0.5, "level": 0.05, "width": 0.2},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.8, 1.25)},
        {"kind": "bezier", "prob": 0.3, "strength": 0.3},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.4, "noise": 0.5, "std": (0.0, 0.03)},
    ]


def mr(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """MR: intensity has no unit, and differs by scanner, sequence and coil: bias field, histogram shift, wide gamma.

    Left and right may be mirrored, as for CT.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 15, 10), zoom=0.1, elastic=3.0)
    return geometry, [
        {"kind": "bias_field", "prob": 0.5},
        {"kind": "histogram_shift", "prob": 0.5},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.7, 1.5)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.4, "noise": 0.5, "std": (0.0, 0.05)},
    ]


def pet(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """PET: brightness ranks uptake, so curves only rise and shift little; noise and blur vary with dose and scanner.

    Left and right may be mirrored, as for CT.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 10, 8), zoom=0.1, elastic=4.0)
    return geometry, [
        {"kind": "gamma", "prob": 0.5, "gamma": (0.7, 1.4)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.6, "noise": 0.5, "sigma": (0.3, 1.2), "std": (0.0, 0.05)},
    ]


def xray(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """X-ray: no flips: heart, stomach and side markers tell left from right, and up from down, and must stay readable.

    Rotation is as large as poor positioning, 7 degrees. Exposure and vendor curves differ much: gamma and histogram
    shift. The curve is never inverted: the manifest has put MONOCHROME1 right already.
    """
    geometry = WarpSettings((0.0,) * n, rotate=_tilts(n, 7, 3), zoom=0.1, elastic=4.0)
    return geometry, [
        {"kind": "histogram_shift", "prob": 0.5},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.6, 1.6)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.4, "noise": 0.5, "std": (0.0, 0.04)},
    ]


def pathology(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """Pathology: a slide has no up; any rotation, flip and quarter turn. Stain varies by laboratory: jitter it in HED.

    Histogram shift stands for scanners, warping for how tissue is cut and stretched: by up to 2% of the view's side,
    5 pixels of 256, since a pixel may be 0.25 micrometres or, where a tile carries no spacing, count as one mm. With
    `warp={elastic: 0.003}` it is in mm as elsewhere. A tile is cut out of tissue that goes on, so what a turned view
    sees beyond it is its mirror image, not streaks.
    """
    flips, turns = (0.5,) * n, _tilts(n, 180, 0)
    geometry = WarpSettings(flips, rotate=turns, zoom=0.15, turn=True, fill="reflect")
    return geometry, [
        {"kind": "stain_jitter", "prob": 0.8, "sigma": 0.1},
        {"kind": "histogram_shift", "prob": 0.3, "strength": 0.5},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.5, "noise": 0.3, "std": (0.0, 0.03)},
    ]


def ultrasound(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """Ultrasound: the probe is above and shadows fall down, so nothing is flipped upside down; left and right may be.

    Dynamic range and gain are set by hand, gain differs with depth, and the probe touches better here than there:
    gamma, and a smooth field of all axes. Speckle is signal: noise is low.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 10, 5), zoom=0.15, elastic=2.0)
    return geometry, [
        {"kind": "bias_field", "prob": 0.5, "degree": 2},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.6, 1.6)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.5, "noise": 0.3, "std": (0.0, 0.03)},
    ]


PRESETS = {f.__name__: f for f in (ct, mr, pet, xray, pathology, ultrasound)}
SHARE = {"pathology": 0.02}  # of the view's side: the elastic of presets that have none in mm


def preset(
    name: str,
    spatial_dims: int,
    channels: int | None = None,
    *,
    warp: Mapping[str, Any] | None = None,
    intensity: Sequence[Mapping[str, Any]] | None = None,
    corrupt: str | Mapping[str, Any] | None = "dira",
    faithful: bool = False,
) -> Preset:
    """Build the preset `name` with a recipe's changes; unknown names and keys are refused with a suggestion.

    `warp` overrides single settings (flip: one probability, or one an axis; rotate: degrees, one or as many as there
    are angles; zoom; elastic: mm, or "transvw", the released deformation of volumes; turn; fill: edge or reflect).
    `intensity` replaces the list: {"kind": "gamma", "prob": 0.5, ...}, a window jitter first. `corrupt`: a name, or
    {"kind": name, ...}, or "none". `faithful` takes TransVW's released number of shuffled blocks. `channels`: of the
    images, None where they are not known.
    """
    geometry, changes = PRESETS[named.known("preset", name, PRESETS)](spatial_dims)
    share = None if warp and "elastic" in warp else SHARE.get(name)
    if warp:
        geometry = _overridden(geometry, dict(warp), spatial_dims)
    transforms = named.changes(changes if intensity is None else intensity, spatial_dims, channels)
    if corrupt is None or corrupt == "none":
        return Preset(geometry, transforms, None, share)
    spec: dict[str, Any] = {"kind": corrupt} if isinstance(corrupt, str) else dict(corrupt)
    if faithful and spec.get("kind") == "transvw":
        spec.setdefault("blocks", 5)
    return Preset(geometry, transforms, named.corruption(spec, spatial_dims), share)


def _flips(n: int, left_right: float) -> tuple[float, ...]:
    """Probabilities an axis: the last one is left to right."""
    return (0.0,) * (n - 1) + (left_right,)


def _tilts(n: int, in_plane: float, tilt: float) -> tuple[float, ...]:
    return (in_plane,) if n == 2 else (in_plane, tilt, tilt)


HIGHEST = {"flip": 1.0, "rotate": 180.0, "zoom": 0.9, "elastic": 1000.0}  # of each setting; the lowest is 0


def _overridden(geometry: WarpSettings, warp: dict[str, Any], n: int) -> WarpSettings:
    for key in warp:
        named.known("warp", key, geometry._asdict())
    found = dict(warp)
    for key, count in (("flip", n), ("rotate", 1 if n == 2 else 3), ("zoom", 1), ("elastic", 1)):
        if key in warp and not (key == "elastic" and n == 3 and warp[key] == "transvw"):
            values = _numbers(key, warp[key], count)
            found[key] = values if key in ("flip", "rotate") else values[0]
    if warp.get("fill", "edge") not in ("edge", "reflect"):
        raise InputError(f"warp: fill is {warp['fill']}, give edge or reflect")
    if not isinstance(warp.get("turn", False), bool):
        raise InputError(f"warp: turn is {warp['turn']}, give true or false")
    return geometry._replace(**found)


def _numbers(key: str, value: Any, count: int) -> tuple[float, ...]:
    """One number for all `count` places, or one for each."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if len(values) != count or not numbers or not all(0 <= v <= HIGHEST[key] for v in values):
        places = "" if count == 1 else f", or {count} of them"
        raise InputError(f"warp: {key} is {value}, give a number from 0 to {HIGHEST[key]:g}{places}")
    return tuple(float(v) for v in values)
