"""What was drawn for a view, in the few words that fit under a panel."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl.data.cache import Case
    from medssl.transforms.corruption.base import Corruption
    from medssl.types import View

WIDTH, LINES = 29, 4  # characters and lines under a panel
UNIT = {2: "pixels", 3: "voxels"}
AXES = {2: ("up-down", "left-right"), 3: ("head-foot", "front-back", "left-right")}


def sample(case: Case) -> str:
    """The id, size and spacing of a case."""
    shape = " × ".join(str(n) for n in case.shape)
    spacing = " × ".join(f"{mm:.3g}" for mm in case.spacing)
    known = f" of {spacing} mm" if case.spacing_known else ", spacing unknown"
    channels = "" if case.channels == 1 else f", {case.channels} channels"
    return f"{case.id}   {shape} {UNIT[len(case.shape)]}{known}{channels}"


def under(kind: str, view: View, corrupt: Corruption | None) -> str:
    """The text under a panel: how the target was transformed, how the input was changed, how it was corrupted."""
    if kind == "target":
        return _wrapped(_geometry(view))
    if kind == "input":
        changes = ((name, params) for name, params in view.drawn.items() if name[0].isupper())
        return _wrapped([word for change in changes for word in _changes(*change)] or ["intensity unchanged"])
    if corrupt is None or view.drawn["corrupt"] is None:
        return "not corrupted"
    corruptions = [word for drawn in corrupt.drew(view.drawn["corrupt"]) for word in _changes(*drawn)]
    return _wrapped([*corruptions, f"{view.mask.mean():.0%} of the {UNIT[view.mask.ndim - 1]}"])


def _geometry(view: View) -> list[str]:
    drawn: dict[str, Any] = view.drawn["warp"]
    flipped = [name for name, flip in zip(AXES[len(view.window.size)], drawn["flip"], strict=True) if flip]
    words = {
        "window " + "×".join(str(n) for n in view.window.size): True,
        "flip " + ", ".join(flipped): flipped,
        f"turn {90 * drawn['turn']}°": drawn["turn"],
        "rotate " + "/".join(str(round(angle)) for angle in drawn["angles"]) + "°": any(drawn["angles"]),
        f"zoom {drawn['zoom']:.2f}": drawn["zoom"] != 1,
        "elastic": drawn["elastic_mm"] > 0,
    }
    return [word for word, said in words.items() if said]


def _changes(name: str, params: dict[str, Any] | None) -> list[str]:
    """What a transform did: nothing, its name, or the name of each part that was drawn."""
    if params is None:
        return []
    if "sigma" in params:
        return ["blur"] * (params["sigma"] > 0) + ["noise"] * (params["std"] > 0)
    if "invert" in params:
        return ["tone curve, inverted" if params["invert"] else "tone curve, not inverted"]
    if (params.get("low"), params.get("high")) == (0.0, 1.0):  # an unchanged window
        return []
    return [_plain(name)]


def _plain(name: str) -> str:
    """RandBiasFieldd -> bias field; a number is added to a second transform of the same name."""
    bare = re.sub(r"d( \d+)?$", "", name.removeprefix("Rand"))
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare).lower()


def _wrapped(words: list[str]) -> str:
    return "\n".join(textwrap.wrap(", ".join(words), WIDTH, break_on_hyphens=False)[:LINES])
