"""The keys of a recipe that name files, which say where its data lies and may contain patient names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PATHS = ("cache", "manifest", "splits", "key")  # of the data group


def portable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without paths, as checkpoints and exports hold it."""
    return {**recipe, "data": {**recipe["data"], **dict.fromkeys(PATHS)}}
