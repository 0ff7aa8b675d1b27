"""The logs of a run: metrics.jsonl and TensorBoard for numbers, train.log for messages."""

from __future__ import annotations

import struct
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from medssl.data import files
from medssl.messages import say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, None for values that were not finite; a truncated last line is dropped."""
    return files.read_lines(path)


def cut_back(path: Path, step: int) -> None:
    """Keep the records up to `step`; safe if the process is killed meanwhile."""
    if path.is_file():
        files.write_lines(path, [record for record in read(path) if record["step"] <= step])


class MetricsLog:
    """Appends records to metrics.jsonl and TensorBoard; does nothing if `folder` is None (all ranks but 0)."""

    def __init__(self, folder: Path | None, *, step: int = 0) -> None:
        self._file = self._board = None
        if folder is None:
            return
        cut_back(folder / "metrics.jsonl", step)
        self._file = (folder / "metrics.jsonl").open("a", buffering=1)  # line by line: a kill loses at most the last
        self._board = Board(folder / "tb", step=step)

    def write(self, record: Mapping[str, float]) -> None:
        """Append one record: `step` and the values measured at it; values that are not finite become null in JSON."""
        if self._file is None or self._board is None:
            return
        self._file.write(files.line(record))
        self._board.write(record)

    def close(self) -> None:
        """Flush and close both."""
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()


class Board:
    """A TensorBoard event file; TensorBoard's own writer would put the host's name into the file name."""

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog  # needed by one rank alone
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._records = RecordWriter((folder / f"events.out.tfevents.{time.time():.6f}").open("xb"))
        self._add(file_version="brain.Event:2")
        self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))  # hides earlier records after `step`

    def write(self, record: Mapping[str, float]) -> None:
        """Append one record as scalars."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        names = [name for name in record if name != "step"]
        scalars = [Summary.Value(tag=name.replace(".", "/", 1), simple_value=record[name]) for name in names]
        self._add(step=int(record["step"]), summary=Summary(value=scalars))

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Append a picture, an encoded PNG."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = struct.unpack(">II", png[16:24])  # of the header, which comes first
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._add(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()


class TrainLog:
    """Messages, with the time, into train.log and to the terminal; does nothing if `folder` is None."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "train.log"

    def say(self, sentence: str) -> None:
        """Write one message."""
        if self._path is None:
            return
        with self._path.open("a") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {sentence}\n")
        say(sentence)
