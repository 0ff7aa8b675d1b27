"""Messages and progress of the library, which prints nothing itself.

Messages go to the logger `medssl` of the standard library. Progress goes to the function that `showing` sets, as
`update(text, done, total)`. The command line prints both (`medssl.terminal`). In a notebook,

    logging.basicConfig(level=logging.INFO)

shows the messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from difflib import get_close_matches

Update = Callable[[str, int, int], None]  # what is being done, how many are done, how many there are
Show = Callable[[], AbstractContextManager[Update]]

LOGGER = logging.getLogger("medssl")
LOGGER.addHandler(logging.NullHandler())  # else Python would print warnings by itself


def say(sentence: str) -> None:
    """Log a message about what happened."""
    LOGGER.info("%s", sentence)


def warn(sentence: str) -> None:
    """Log a warning about something that the user may want to change."""
    LOGGER.warning("%s", sentence)


def _silent() -> AbstractContextManager[Update]:
    return nullcontext(lambda text, done, total: None)


_show: ContextVar[Show] = ContextVar("show", default=_silent)


def progress() -> AbstractContextManager[Update]:
    """A context that gives `update(text, done, total)` to call during long work; silent unless `showing` is active."""
    return _show.get()()


def suggest(name: str, names: Collection[str]) -> str:
    """The end of an error about an unknown name: the closest of `names`, or all of them.

    >>> suggest("adcoo", ["adco", "simsiam"]), suggest("x", ["adco", "simsiam"])
    ("; did you mean 'adco'?", ' (there are: adco, simsiam)')
    """
    close = get_close_matches(name, list(names), n=1)
    listed = ", ".join(sorted(names))
    return f"; did you mean '{close[0]}'?" if close else f" (there are: {listed})" if listed else ""


@contextmanager
def showing(show: Show) -> Iterator[None]:
    """Within this context, progress is shown by the `update` that `show()` gives."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
