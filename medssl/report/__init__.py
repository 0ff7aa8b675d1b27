"""The self-contained HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medssl import __version__
from medssl.data.files import writable, write
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build"]


def build(runs: Sequence[Path], out: Path, *, pictures: bool = False) -> Path:
    """Write one HTML file about `runs` that contains all figures; `pictures` allows real 2D radiographs in it.

    Raises `InputError` if a folder is not a run directory or is damaged, or if `out` cannot be written.
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
    with writable(out):
        write(out, page)
    return out
