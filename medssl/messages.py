"""How the library speaks: it prints nothing, and whoever wants to hear it listens.

Sentences go to the logger `medssl` of the standard library. Progress goes to whatever `showing` names, as
`update(text, done, total)`. The command line listens to both (`medssl.terminal`); in a notebook

    logging.basicConfig(level=logging.INFO)

shows the sentences.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Update = Callable[[str, int, int], None]  # what is being done, done so far, in all
Show = Callable[[], AbstractContextManager[Update]]

LOGGER = logging.getLogger("medssl")
LOGGER.addHandler(logging.NullHandler())  # else Python would print warnings that nobody asked to hear


def say(sentence: str) -> None:
    """What went on, for whoever listens."""
    LOGGER.info("%s", sentence)


def warn(sentence: str) -> None:
    """What may surprise the user, who should do something about it."""
    LOGGER.warning("%s", sentence)


def _silent() -> AbstractContextManager[Update]:
    return nullcontext(lambda text, done, total: None)


_show: ContextVar[Show] = ContextVar("show", default=_silent)


def progress() -> AbstractContextManager[Update]:
    """A context that gives `update(text, done, total)`, to be called as work goes on; silent unless someone listens."""
    return _show.get()()


@contextmanager
def showing(show: Show) -> Iterator[None]:
    """Within it the progress of long work is shown by the update that `show()` gives."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
