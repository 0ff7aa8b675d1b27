"""What was drawn for a view, in the few words that fit under its picture."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from medssl.transforms.distort import RandChaind, RandOneOfd

if TYPE_CHECKING:
    from medssl.data.cache import Case
    from medssl.transforms.corrupt import Corruption
    from medssl.types import View

WIDTH = 29  # characters under a panel
UNIT = {2: "pixels", 3: "voxels"}
AXES = {2: "YX", 3: "ZYX"}


def sample(case: Case) -> str:
    """Who it is: id, size, spacing."""
    shape = " × ".join(str(n) for n in case.shape)
    spacing = " × ".join(f"{mm:.3g}" for mm in case.spacing)
    channels = "" if case.channels == 1 else f", {case.channels} channels"
    return f"{case.id}   {shape} {UNIT[len(case.shape)]} of {spacing} mm{channels}"


def under(kind: str, view: View, corrupt: Corruption | None) -> str:
    """The words under a panel: how the target was moved, how the input was changed, how it was corrupted."""
    if kind == "target":
        return _wrapped(_geometry(view))
    if kind == "input":
        drawn = [_plain(name) for name, params in view.drawn.items() if params is not None and name[0].isupper()]
        return _wrapped(drawn or ["intensity unchanged"])
    if corrupt is None or view.drawn["corrupt"] is None:
        return "not corrupted"
    return _wrapped(
        [*_corruptions(corrupt, view.drawn["corrupt"]), f"{view.mask.mean():.0%} of the {UNIT[view.mask.ndim - 1]}"]
    )


def _geometry(view: View) -> list[str]:
    drawn: dict[str, Any] = view.drawn["warp"]
    flipped = [name for name, flip in zip(AXES[len(view.window.size)], drawn["flip"], strict=True) if flip]
    words = {
        "window " + "×".join(str(n) for n in view.window.size): True,
        "flip " + "".join(flipped): flipped,
        f"turn {90 * drawn['turn']}°": drawn["turn"],
        "rotate " + "/".join(str(round(angle)) for angle in drawn["angles"]) + "°": any(drawn["angles"]),
        f"zoom {drawn['zoom']:.2f}": drawn["zoom"] != 1,
        "elastic": drawn["elastic"] is not None,
    }
    return [word for word, said in words.items() if said]


def _corruptions(corrupt: Corruption, params: dict[str, Any] | None) -> list[str]:
    """Names of what a mixture of corruptions drew."""
    if params is None:
        return []
    if isinstance(corrupt, RandOneOfd):
        return _corruptions(corrupt.choices[params["choice"]], params["params"])
    if isinstance(corrupt, RandChaind):
        steps = zip(corrupt.steps, params["steps"], strict=True)
        return [name for step, drawn in steps for name in _corruptions(step, drawn)]
    return [_plain(type(corrupt).__name__)]


def _plain(name: str) -> str:
    """RandBiasFieldd -> bias field."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removeprefix("Rand").removesuffix("d")).lower()


def _wrapped(words: list[str]) -> str:
    return "\n".join(textwrap.wrap(", ".join(words), WIDTH)[:3])
