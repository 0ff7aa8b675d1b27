"""Files that are whole or not there: whoever looks sees the old file or the new one, never a part of it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, renamed to `path` at the end, removed if the writing fails.

    The name is this thread's own, so that several may write one file, and ends like `path`, since some writers go by
    the suffix. The folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{os.getpid()}.{threading.get_ident()}.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")
