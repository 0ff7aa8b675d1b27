"""Signals of a scheduler: they ask for a checkpoint and a stop between two steps."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within, SIGTERM and SIGUSR1 only set what the yielded function tells: whether a stop was asked for."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may take signals
        yield asked.is_set
        return
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in STOP}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
