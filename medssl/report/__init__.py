"""The self-contained HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medssl import __version__
from medssl.data import atomic
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build"]


def build(runs: Sequence[Path], out: Path, *, pictures: bool = False) -> Path:
    """Write one HTML file about `runs`, with every picture inside; `pictures` allows real 2D radiographs in it.

    Raises InputError if a run directory is none or damaged, or `out` cannot be written to.
    """
    import jinja2

    from medssl.report.runs import read as read_run
    from medssl.report.sections import comparison, section

    read = [read_run(Path(path)) for path in runs]
    if not read:
        raise InputError("a report needs at least one run directory")
    page = jinja2.Template((Path(__file__).parent / "page.html").read_text(), autoescape=True).render(
        title=f"medssl: {', '.join(run.path.name for run in read)}",
        version=__version__,
        comparison=comparison(read),
        runs=[section(run, pictures=pictures) for run in read],
    )
    try:
        atomic.write(out, page)
    except OSError as error:
        raise InputError(f"{out} cannot be written to ({error.strerror}): choose another place with --out") from error
    return out
