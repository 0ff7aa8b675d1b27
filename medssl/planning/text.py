"""A plan in words: why each number was chosen, and the recipe file that says so in its header."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import yaml

from medssl import __version__
from medssl.planning.memory import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from medssl.planning.fingerprint import Fingerprint

WIDTH = 118


def reasons(content: dict[str, Any], found: Fingerprint, needed: float, room: float) -> list[str]:
    """One sentence per choice."""
    size, train, encoder = content["views"]["size"], content["train"], content["encoder"]
    unit = "mm" if found.spacing_known else "pixels (the files name no spacing)"
    said = [
        f"data: {found.cases} cases of {found.patients} patients to pretrain on, {found.channels} channel(s), "
        f"{found.preset}; median {_by(found.shape, '.0f')} voxels of {_by(found.spacing, '.3g')} {unit}",
        f"views: {_by(size, 'd')} voxels, no axis sampled more finely than the data"
        + (f"; crops of {content['crop']['scale']} of the image" if "scale" in content["crop"] else ""),
    ]
    if encoder["kind"] == "tiny":
        halved = len(encoder["channels"])
        said.append(f"stages: {halved}, so that the deepest map is {_by([-(-n // 2**halved) for n in size], 'd')}")
    if encoder["kind"] == "resenc":
        said.append(f"stages: {len(encoder['strides'])}, by nnU-Net's rule; axes of thick slices are halved later")
    said.append(
        f"batch: {train['batch']}, a step estimated at {needed / GIB:.1f} GiB of the {room / GIB:.1f} GiB to plan for"
    )
    samples = train["steps"] * train["batch"]
    said.append(f"steps: {train['steps']}, which are {samples:,} samples, each case {samples / found.cases:,.0f} times")
    if found.varies:
        said.append(
            "spacing: it differs between cases; this plan is for a cache made with "
            f"`medssl prepare ... --spacing {','.join(f'{mm:g}' for mm in found.spacing)}`"
        )
    return said


def recipe(content: dict[str, Any], said: Iterable[str], base: str, out: Path) -> str:
    """The recipe file: one line per group, as shipped recipes are written."""
    head = [f"A plan of medssl {__version__} (`medssl plan`), from the recipe {base}: edit what you know better."]
    head += [*said, f"run: medssl pretrain {out.name} out=runs/pretrain"]
    head += [f"takes: ask `medssl doctor --recipe {out.name}`", "expect: not measured"]
    lines = [
        line
        for sentence in head
        for line in textwrap.wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    return "".join(f"# {line}\n" for line in lines) + "".join(_group(name, value) for name, value in content.items())


def _group(name: str, value: Any) -> str:
    """A group on one line where it fits, each of its entries on one otherwise."""
    line = _flow({name: value})
    if len(line) <= WIDTH or not isinstance(value, dict):
        return f"{line}\n"
    return f"{name}:\n" + "".join(f"  {_flow({key: inner})}\n" for key, inner in value.items())


def _flow(pair: dict[str, Any]) -> str:
    ((name, value),) = pair.items()
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return f"{name}: {written.removesuffix('...' + chr(10)).strip()}"


def _by(numbers: Iterable[Any], form: str) -> str:
    return " x ".join(format(n, form) for n in numbers)
