"""Scheduler signals and Ctrl-C: they request a checkpoint and a stop after the current step."""

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
SAID = "medssl: stopping after this step{takes}, with a checkpoint; Ctrl-C again stops at once\n"
LONG = 1.0  # seconds of a step that are worth telling


@contextmanager
def stops_at_once() -> Iterator[None]:
    """Within this context, SIGTERM and SIGUSR1 raise Interrupted, because no step is running; see `stop_requests`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> NoReturn:
        raise Interrupted("stopped between steps: resume=true starts or continues this run")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_requests(step_seconds: Callable[[], float] = lambda: 0.0) -> Iterator[Callable[[], bool]]:
    """Within this context a signal of STOP only makes the yielded function return true: a stop was requested.

    It is said at once what is waited for, and how long a step takes by `step_seconds`. A second Ctrl-C raises
    KeyboardInterrupt as usual.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield asked.is_set
        return

    def ask(number: int, _: object) -> None:
        asked.set()
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            seconds = step_seconds()
            takes = f" (a step takes about {seconds:.0f} s)" if seconds > LONG else ""
            os.write(2, SAID.format(takes=takes).encode())  # standard error; `print` is not safe in a signal handler

    before = {number: signal.signal(number, ask) for number in STOP}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent(worker: int) -> None:
    """For DataLoader workers: a signal sent to the whole job must not end them before the checkpoint is written.

    A SIGTERM from the parent, by which Python ends its remaining children at exit, still does.
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
