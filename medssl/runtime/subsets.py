"""The training, validation and test cases of a fine-tuning."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from medssl.data import fingerprint
from medssl.messages import suggest
from medssl.runtime.cases import listed
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.data.cache import Cache, Case
    from medssl.recipe.frame import Data

PARTS = ("train", "val", "test")


def subsets(cache: Cache, data: Data, usable: Callable[[Case], bool]) -> dict[str, list[str]]:
    """The ids of train, val and test, sorted: as named in `data.splits`, or by the split column of the manifest.

    Unlabelled cases (not `usable`) are dropped from subsets of the split column, but not from those that a file names.
    Raises `InputError` if there is nothing to train on, or a case is in two subsets.
    """
    names = {part: getattr(data, part) for part in PARTS}
    if data.splits is not None:
        wanted = [name for name in names.values() if name is not None]
        found = listed(cache, data, wanted)
        chosen = {part: sorted(found[name]) if name is not None else [] for part, name in names.items()}
    else:
        names["train"] = names["train"] or "train"
        chosen = {part: _column(cache, name, usable) if name is not None else [] for part, name in names.items()}
    _check(chosen, cache)
    return chosen


def leaks(chosen: dict[str, list[str]], cache: Cache) -> list[str]:
    """Sentences about patients that are in two subsets, and images of which a near-copy is in another."""
    patients = {part: {cache.cases[name].patient for name in ids} for part, ids in chosen.items()}
    said = [
        f"{len(shared)} of {len(patients[other])} {other} patients are also in {one}: split by patient"
        for one, other in combinations(PARTS, 2)
        if (shared := patients[one] & patients[other])
    ]
    prints = {part: [cache.cases[name].fingerprint for name in ids] for part, ids in chosen.items()}
    for one, other in combinations(PARTS, 2):
        near = {place for place, _ in fingerprint.pairs(prints[other], prints[one])}
        if near:
            said.append(f"{len(near)} of {len(prints[other])} {other} images are near-copies of images in {one}")
    return said


def _column(cache: Cache, name: str, usable: Callable[[Case], bool]) -> list[str]:
    splits = {case.split for case in cache.cases.values()}
    if name not in splits | set(PARTS):
        raise InputError(f"no case has the split '{name}'{suggest(name, splits)}")
    return sorted(case.id for case in cache.cases.values() if case.split == name and usable(case))


def _check(chosen: dict[str, list[str]], cache: Cache) -> None:
    if not chosen["train"]:
        splits = sorted({case.split for case in cache.cases.values()})
        raise InputError(
            f"no labelled case to train on (splits in the cache: {splits}): scan with labels and --split, or set "
            "data.splits and data.train"
        )
    for one, other in combinations(PARTS, 2):
        if shared := set(chosen[one]) & set(chosen[other]):
            raise InputError(
                f"{len(shared)} case(s) are in {one} and in {other}, such as {min(shared)}: choose subsets that differ"
            )
