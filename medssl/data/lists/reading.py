"""Recognise the list of another tool, and read it as rows of a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medssl.data.lists import bids, decathlon, image_folder, nnssl, nnunet
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

JSON: dict[str, Any] = {"nnU-Net": nnunet, "decathlon": decathlon, "nnssl": nnssl}
ID = "id"  # column of the image's path in the rows


def rows(path: Path) -> tuple[list[dict[str, str]], str] | None:
    """The rows and the name of the format, or None for a table. Raises `InputError` for JSON of another form."""
    if path.is_dir():
        return image_folder.rows(path), "ImageFolder"
    if path.name == bids.NAME:
        return bids.rows(path), "BIDS"
    if path.suffix.lower() != ".json":
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name = next((name for name, form in JSON.items() if form.fits(content)), None)
        found = [] if name is None else JSON[name].rows(path, content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as a list of images ({type(error).__name__}: {error})") from None
    if name is None:
        raise InputError(f"{path} is not a list of {', '.join(JSON)}: give a CSV file, or another list")
    return found, name
