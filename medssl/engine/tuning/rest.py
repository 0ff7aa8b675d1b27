"""Parts of a network that are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def weights(groups: Sequence[str], parts: Sequence[str]) -> dict[str, float]:
    """0 for the groups of `parts`, else 1. Raises `InputError` for unknown parts, and if no part is left to train."""
    known = dict.fromkeys(name.split(".")[0] for name in groups)
    if unknown := sorted(set(parts) - set(known)):
        raise InputError(
            f"tuning.parts names {', '.join(unknown)}, but the parts of this network are {', '.join(known)}"
        )
    found = {name: 0.0 if name.split(".")[0] in parts else 1.0 for name in groups}
    if not any(found.values()):
        raise InputError(f"tuning.parts names all parts of the network ({', '.join(known)}): leave out one to train")
    return found
