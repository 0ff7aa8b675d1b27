"""`medssl export`: the options of a format, as they are written on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medssl.recipe import split
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def given(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` as options of a format: numbers, [lists] and {groups} as YAML reads them, all else as plain text.

    A sentence is text even where YAML would see a group in it.

    >>> given(["patch=[64, 64, 64]", "data=Lungs: 300 CT volumes."])
    {'patch': [64, 64, 64], 'data': 'Lungs: 300 CT volumes.'}
    """
    return dict(_option(word) for word in words)


def _option(word: str) -> tuple[str, Any]:
    key, _, text = word.partition("=")
    try:
        key, value = split(word)
    except InputError:
        if not key.isidentifier() or text[:1] in ("[", "{", ""):
            raise
        return key, text
    return key, value if isinstance(value, int | float | list) or text.startswith("{") else text
