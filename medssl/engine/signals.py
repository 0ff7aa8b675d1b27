"""Signals of a scheduler, and Ctrl-C: they ask for a checkpoint and a stop between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from medssl.types import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAID = b"medssl: stopping after this step, with a checkpoint; Ctrl-C again stops at once\n"


@contextmanager
def stops_at_once() -> Iterator[None]:
    """Within, but not within `stop_requests`, SIGTERM and SIGUSR1 raise Interrupted: no step is under way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> NoReturn:
        raise Interrupted("stopped while no step was under way: resume=true starts or continues this run")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within, a signal of STOP only sets what the yielded function tells: whether a stop was asked for.

    A second Ctrl-C raises KeyboardInterrupt, as ever.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may take signals
        yield asked.is_set
        return

    def ask(number: int, _: object) -> None:
        asked.set()
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            os.write(2, SAID)  # standard error; `print` is not for signal handlers

    before = {number: signal.signal(number, ask) for number in STOP}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent(worker: int) -> None:
    """For workers of a DataLoader: a signal to the whole job must not end them before the checkpoint is written.

    SIGTERM by the parent, which is how Python ends children that are left at its exit, still does.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere a worker cannot tell who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
