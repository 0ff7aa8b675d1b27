"""What a run writes down: metrics.jsonl and TensorBoard for numbers, train.log for sentences."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def cut_back(path: Path, step: int) -> None:
    """Keep the records up to `step`: written aside, then renamed, so that a kill here loses nothing."""
    if not path.is_file():
        return
    aside = path.with_name(f".{path.name}")
    aside.write_text("".join(json.dumps(record) + "\n" for record in read(path) if record["step"] <= step))
    os.replace(aside, path)


class MetricsLog:
    """Appends records to metrics.jsonl and TensorBoard; with `folder` None (ranks but the first) it does nothing."""

    def __init__(self, folder: Path | None, *, step: int = 0) -> None:
        self._file = self._board = None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed by one rank alone

        cut_back(folder / "metrics.jsonl", step)
        self._file = (folder / "metrics.jsonl").open("a", buffering=1)  # by line: a kill loses the last one at most
        self._board = SummaryWriter(folder / "tb", purge_step=step + 1)

    def write(self, record: Mapping[str, float]) -> None:
        """Append one record: `step` and whatever was measured at it."""
        if self._file is None or self._board is None:
            return
        self._file.write(json.dumps(dict(record)) + "\n")
        for name, value in record.items():
            if name != "step":
                self._board.add_scalar(name.replace(".", "/", 1), value, int(record["step"]))

    def close(self) -> None:
        """Flush and close both."""
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()


class TrainLog:
    """Sentences: with the time into train.log, and onto the screen; with `folder` None it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "train.log"

    def say(self, sentence: str) -> None:
        """Write one sentence."""
        if self._path is None:
            return
        with self._path.open("a") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {sentence}\n")
        print(sentence, file=sys.stdout, flush=True)
