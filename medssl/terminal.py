"""What the terminal shows: messages and progress of the library, errors as one sentence, run options in --help."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from medssl import __version__, messages
from medssl.types import InputError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID


def show_version(asked: bool) -> None:
    """Print the version and exit, if asked."""
    if asked:
        print(f"medssl {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")]
Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a recipe: see medssl recipes.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="key=value", help="Settings to change, e.g. train.steps=500, and run options, e.g. out=runs/first."
    ),
]
REFRESH = 0.2  # seconds between two pictures of the progress
UNWRITABLE = {
    getattr(errno, name)
    for name in "EACCES EPERM EROFS ENOTDIR EISDIR EEXIST ENOSPC EDQUOT ENAMETOOLONG EIO EFBIG".split()
}


class RunCommand(TyperCommand):
    """A verb that runs a recipe: its --help also lists the run options, which are given like settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the run options from `medssl.recipe`, which is imported only for this."""
        from rich.console import Console
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        from medssl.recipe import options_help

        example, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        self.epilog = example
        table = Table.grid(padding=(0, 2))
        for written, meaning in options_help(self.name or ""):
            table.add_row(Text(written, style="bold cyan"), meaning)
        screen = Console()
        screen.print(Panel(table, title="Run options, given like settings", title_align="left", border_style="dim"))
        screen.print(Text(f"\n {example}\n"))


@contextmanager
def listening() -> Iterator[None]:
    """Within this context, messages of the library are printed to stdout, warnings and progress bars to stderr."""
    screen, logger = _Screen(), messages.LOGGER
    before = logger.level, logger.propagate
    logger.addHandler(screen)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # else a handler of the root logger would print everything twice
    try:
        with messages.showing(bars):
            yield
    finally:
        logger.removeHandler(screen)
        logger.level, logger.propagate = before


class _Screen(logging.Handler):
    """Prints each message at once, to the current stdout or stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout, flush=True)


@contextmanager
def bars() -> Iterator[messages.Update]:
    """One progress bar per text on a terminal; none elsewhere or under SLURM."""
    if not sys.stderr.isatty() or "SLURM_JOB_ID" in os.environ:
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as drawn:  # a thread would forbid forks
        tasks: dict[str, TaskID] = {}
        shown = 0.0

        def update(text: str, done: int, total: int) -> None:
            nonlocal shown
            if text not in tasks:
                tasks[text] = drawn.add_task(text, total=total, rate="")
            task = drawn.tasks[tasks[text]]
            rate = done / task.elapsed if task.elapsed else 0.0
            drawn.update(tasks[text], completed=done, total=total, rate=f"{rate:.3g}/s" if rate else "")
            if done == total or time.monotonic() - shown > REFRESH:
                drawn.refresh()
                shown = time.monotonic()

        yield update


def fault(error: Exception) -> int:
    """Print an error as one sentence; returns the exit code."""
    if getattr(error, "quiet", False):
        return 0
    sentence, code = _said(error)
    print(f"medssl: {sentence}", file=sys.stderr)
    return code


def _said(error: Exception) -> tuple[str, int]:
    """The sentence for an error, and the exit code: 2 wrong input, 75 interrupted run, 1 fault of medssl."""
    if isinstance(error, (InputError, Interrupted)):
        return str(error), 75 if isinstance(error, Interrupted) else 2
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        place = error.filename or "the output"
        return f"{place} cannot be written or read ({error.strerror}): choose another place, or free some space", 2
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter is torch's
        return "out of memory: lower train.batch, or the size of the views", 2
    if hasattr(error, "format_message"):  # of typer: a wrong option or argument
        return f"{' '.join(error.format_message().split())} See `medssl --help`, or `medssl VERB --help`.", 2
    name = type(error).__name__
    return f"this is a fault of medssl, not of your input ({name}: {error}): --debug shows the traceback", 1


def run_app(app: typer.Typer, words: list[str]) -> int:
    """Run the command line on its words; returns the exit code. `--debug` anywhere shows tracebacks."""
    debug = "--debug" in words
    arguments = [word for word in words if word != "--debug"]
    try:
        with listening():
            code: int = app(args=arguments or ["--help"], prog_name="medssl", standalone_mode=False)
            return code
    except Exception as error:
        if debug:
            raise
        return fault(error)
