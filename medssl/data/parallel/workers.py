"""Work on many files in several processes, with results in order."""

from __future__ import annotations

import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from medssl.data.parallel import machine
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST = 8  # processes that are started unasked
CHUNK = 32  # items sent to a process at a time, if there are many
Item = TypeVar("Item")
Result = TypeVar("Result")


def count(asked: int | None) -> int:
    """The number of processes: `asked`, or by default one for each core, if they can be started at no cost.

    Processes are forked where the system can and no thread runs. Elsewhere they import everything anew, and run the
    script of the caller again, which must be asked for.
    """
    return asked or (min(machine.cores(), MOST) if _forks() else 1)


def mapped(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """The results of a function of the module level, in the order of `items`.

    Raises `InputError` if a process is killed.
    """
    if workers <= 1 or len(items) < 2:
        yield from map(function, items)
        return
    context = get_context("fork" if _forks() else "spawn")
    chunk = max(1, min(CHUNK, len(items) // (4 * workers)))
    with ProcessPoolExecutor(workers, context, warnings.simplefilter, ("ignore",)) as pool:
        try:
            yield from pool.map(function, items, chunksize=chunk)
        except BrokenProcessPool:
            raise InputError("a process was killed, most likely for lack of memory: use fewer --workers") from None


def _forks() -> bool:
    """Whether a copy of this process can work: not if others of its threads, or those of torch, may hold a lock."""
    return sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
