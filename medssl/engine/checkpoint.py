"""Checkpoints: one dictionary of tensors, numbers, strings and lists, written atomically and loaded as data only."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medssl.data.files import writable, writing
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 1


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write atomically and flush to disk, so that a checkpoint survives a power failure."""
    with writable(f"checkpoint {path}", advice="free some space, or choose another out="), writing(path) as beside:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, atomically."""
    _replace(path, lambda beside: torch.save(content, beside))


def copy(source: Path, path: Path) -> None:
    """Make `path` a copy of `source`, atomically; a hard link where the file system has them."""

    def link(beside: Path) -> None:
        beside.unlink(missing_ok=True)
        try:
            os.link(source, beside)
        except OSError:  # no hard links here
            shutil.copyfile(source, beside)

    _replace(path, link)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises `InputError` if it is missing, damaged, not a medssl checkpoint, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: give a run directory or a .pt file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged or not a medssl checkpoint: use another one of that run") from error
    if not isinstance(content, dict) or "format" not in content or "weights" not in content:
        raise InputError(f"{path} is not a medssl checkpoint: give one that pretrain or finetune wrote")
    if content["format"] > FORMAT:
        raise InputError(f"{path} has format {content['format']}, this medssl reads {FORMAT}: update medssl")
    return content


def find(where: str | Path) -> Path:
    """The weights of a run directory (the best of a fine-tuning, else the last) or of an export; or the file itself."""
    where = Path(where)
    if where.is_file():
        return where
    if not where.is_dir():
        raise InputError(f"{where} does not exist: give a run directory, a .pt or a .safetensors file")
    names = ("checkpoints/best.pt", "checkpoints/last.pt", "model.safetensors", "encoder.safetensors")
    found = [path for name in names if (path := where / name).is_file()]
    if not found:
        raise InputError(f"{where} has no checkpoint (checkpoints/best.pt or last.pt): did that run write one?")
    return found[0]
