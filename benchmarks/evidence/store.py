"""Rows of results on disk: one JSON object per line, appended whole, so that a killed run leaves only complete rows."""

from __future__ import annotations

import fcntl
import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medssl.data.files import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
PLAN: dict[str, Any] = yaml.safe_load((HERE / "plan.yaml").read_text())
ROWS, WEIGHTS = HERE / "rows", HERE / "weights"


def commit() -> str:
    """The commit of the checkout that computes; `+` where files of the package differ from it."""
    root = HERE.parents[1]
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "medssl", "recipes"], cwd=root, check=False)
    return head.stdout.strip() + ("+" if changed.returncode else "")


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of rows/NAME.jsonl; a last line that was cut off is left out."""
    return read_lines(ROWS / f"{name}.jsonl")


def append(name: str, found: Iterable[dict[str, Any]]) -> None:
    """Append rows in one write under a lock: all of them, or none."""
    ROWS.mkdir(exist_ok=True)
    stamp = commit()
    text = "".join(json.dumps({**row, "commit": row.get("commit", stamp)}) + "\n" for row in found)
    with (ROWS / f"{name}.jsonl").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, 2)
        if end and (file.seek(end - 1), file.read(1))[1] != b"\n":  # what a killed writer left of a row
            file.seek(0)
            whole = file.read().rpartition(b"\n")[0] + b"\n"
            file.truncate(len(whole) if whole != b"\n" else 0)
        file.write(text.encode())


@contextmanager
def claim(work: Path, unit: str) -> Iterator[bool]:
    """Whether this process may work on `unit`: the lock goes with the process, however it ends."""
    folder = work / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / unit.replace("/", "_")).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def pack(values: Iterable[float], digits: int = 4) -> list[float | None]:
    """Scores as a row holds them: rounded, null for NaN."""
    return [None if value != value else round(float(value), digits) for value in values]
