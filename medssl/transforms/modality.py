"""Augmentation presets: one per modality, with the reasons for its settings, and how a recipe changes them."""

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
    """The augmentation of one modality: geometry, then the intensity changes in order, then at most one corruption."""

    warp: WarpSettings
    intensity: list[RandTransform]
    corrupt: Corruption | None
    share: float | None = None  # elastic as a fraction of the view's side, where no length in mm fits every spacing

    @property
    def keep_unclipped(self) -> bool:
        """Whether intensity changes need values beyond the intensity window, since the first one moves the window."""
        return bool(self.intensity) and self.intensity[0].unclipped

    def moves(self, window: Window, spacing: tuple[float, ...]) -> WarpSettings:
        """The geometry settings for a view of `window`, with `spacing` in mm."""
        if self.share is None:
            return self.warp
        side = math.prod(s * mm for s, mm in zip(window.size, spacing, strict=True)) ** (1 / len(spacing))
        return self.warp._replace(elastic=self.share * side)


def ct(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """CT: values are HU and mean tissue, so tone curves are gentle and never inverted; the window varies as in reading.

    Left-right flips are allowed, since texture and shape are to be learned rather than the side; up-down flips are
    not, since fluid levels follow gravity. Noise and blur stand for dose and reconstruction kernel. Patients are
    rotated in plane more than they are tilted.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 15, 8), zoom=0.1, elastic=3.0)
    return geometry, [
        {"kind": "window_jitter", "prob": 0.5, "level": 0.05, "width": 0.2},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.8, 1.25)},
        {"kind": "bezier", "prob": 0.3, "strength": 0.3},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.4, "noise": 0.5, "std": (0.0, 0.03)},
    ]


def mr(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """MR: intensity has no unit and varies with scanner, sequence and coil: bias field, histogram shift, wide gamma.

    Left-right flips are allowed, as for CT.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 15, 10), zoom=0.1, elastic=3.0)
    return geometry, [
        {"kind": "bias_field", "prob": 0.5},
        {"kind": "histogram_shift", "prob": 0.5},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.7, 1.5)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.4, "noise": 0.5, "std": (0.0, 0.05)},
    ]


def pet(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """PET: brightness means uptake, so tone curves rise and change little; noise and blur vary with dose and scanner.

    Left-right flips are allowed, as for CT.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 10, 8), zoom=0.1, elastic=4.0)
    return geometry, [
        {"kind": "gamma", "prob": 0.5, "gamma": (0.7, 1.4)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.6, "noise": 0.5, "sigma": (0.3, 1.2), "std": (0.0, 0.05)},
    ]


def xray(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """X-ray: no flips, since the heart, the gastric bubble and side markers distinguish left from right.

    Rotation is at most 7 degrees, as with poor positioning. Exposure and vendor processing vary much: gamma and
    histogram shift. Tone curves are never inverted: MONOCHROME1 images are inverted when they are prepared.
    """
    geometry = WarpSettings((0.0,) * n, rotate=_tilts(n, 7, 3), zoom=0.1, elastic=4.0)
    return geometry, [
        {"kind": "histogram_shift", "prob": 0.5},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.6, 1.6)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.4, "noise": 0.5, "std": (0.0, 0.04)},
    ]


def pathology(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """Pathology: a slide has no up, so any rotation, flip and quarter turn. Stain varies by laboratory: jitter in HED.

    Histogram shift stands for scanners, elastic deformation for cutting and stretching of the tissue: up to 2% of the
    view's side (5 of 256 pixels), since a pixel may be 0.25 micrometres or, in a tile without spacing, count as 1 mm.
    `warp={elastic: 0.003}` gives it in mm, as elsewhere. A tile is cut from a larger piece of tissue, so that a rotated
    view is filled with the mirror image beyond the border rather than with streaks.
    """
    flips, turns = (0.5,) * n, _tilts(n, 180, 0)
    geometry = WarpSettings(flips, rotate=turns, zoom=0.15, turn=True, fill="reflect")
    return geometry, [
        {"kind": "stain_jitter", "prob": 0.8, "sigma": 0.1},
        {"kind": "histogram_shift", "prob": 0.3, "strength": 0.5},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.5, "noise": 0.3, "std": (0.0, 0.03)},
    ]


def ultrasound(n: int) -> tuple[WarpSettings, list[dict[str, Any]]]:
    """Ultrasound: the probe is on top and shadows point down, so only left-right flips.

    Dynamic range and gain are set by hand, gain varies with depth, and contact varies along the probe: gamma, and a
    smooth bias field along all axes. Speckle is signal, so that noise is low.
    """
    geometry = WarpSettings(_flips(n, left_right=0.5), rotate=_tilts(n, 10, 5), zoom=0.15, elastic=2.0)
    return geometry, [
        {"kind": "bias_field", "prob": 0.5, "degree": 2},
        {"kind": "gamma", "prob": 0.5, "gamma": (0.6, 1.6)},
        {"kind": "blur_noise", "prob": 0.8, "blur": 0.5, "noise": 0.3, "std": (0.0, 0.03)},
    ]


PRESETS = {f.__name__: f for f in (ct, mr, pet, xray, pathology, ultrasound)}
SHARE = {"pathology": 0.02}  # elastic as a fraction of the view's side, of presets that have none in mm


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
    """The preset `name` with a recipe's changes.

    Args:
        name: of the preset, see `PRESETS`.
        spatial_dims: 2 or 3.
        channels: of the images; None if not known.
        warp: single geometry settings: flip (probability, one or one per axis), rotate (degrees, one or one per angle),
            zoom, elastic (mm, or "transvw", the published deformation of volumes), turn, fill ("edge" or "reflect").
        intensity: replaces the list of intensity changes: [{"kind": "gamma", "prob": 0.5}, ...], a window jitter first.
        corrupt: the corruption: a name, {"kind": name, ...}, or "none".
        faithful: whether to shuffle as many blocks as TransVW's published code.

    Raises InputError, with a suggestion, for unknown names and keys, and for values out of range.

    >>> made = preset("ct", 2, warp={"rotate": 5}, intensity=[{"kind": "gamma"}], corrupt="none")
    >>> made.warp.rotate, [type(change).__name__ for change in made.intensity]
    ((5.0,), ['RandGammad'])
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
    """Flip probabilities per axis; the last axis is left to right."""
    return (0.0,) * (n - 1) + (left_right,)


def _tilts(n: int, in_plane: float, tilt: float) -> tuple[float, ...]:
    return (in_plane,) if n == 2 else (in_plane, tilt, tilt)


HIGHEST = {"flip": 1.0, "rotate": 180.0, "zoom": 0.9, "elastic": 1000.0}  # largest value; the smallest is 0


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
    """One number for all `count` axes or angles, or one for each."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if len(values) != count or not numbers or not all(0 <= v <= HIGHEST[key] for v in values):
        places = "" if count == 1 else f", or {count} of them"
        raise InputError(f"warp: {key} is {value}, give a number from 0 to {HIGHEST[key]:g}{places}")
    return tuple(float(v) for v in values)
