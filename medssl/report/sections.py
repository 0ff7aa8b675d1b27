"""The sections of the report: one a run, and a comparison of the fine-tuned ones."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from medssl.report.curves import curves, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.report.runs import Run

BURNED_IN = "Text burned into radiographs may show a name or a date: look before you pass this file on."
HIDDEN = "Pictures of real radiographs are left out: pictures=true shows them."
PICTURES = {  # file stem in the run's figures/ -> title, caption
    "views": (
        "Views and crops",
        "Each row a sample: where it was looked at, what the network saw, what it must restore.",
    ),
    "restored": (
        "Restoration",
        "What the network saw, what it restored, what it should have restored, and the difference.",
    ),
    "attention": (
        "Attention and crop boxes",
        "The heat map of the encoder over the volume, and the box of crop centres.",
    ),
}


class Table(NamedTuple):
    """A small table."""

    title: str
    head: list[str]
    rows: list[list[str]]
    text: str = ""


class Picture(NamedTuple):
    """A picture, as base64 PNG."""

    title: str
    caption: str
    png: str


def section(run: Run, *, pictures: bool) -> dict[str, Any]:
    """What the page says about one run."""
    warnings: list[str] = []
    shown = _pictures(run, pictures, warnings)
    for title, prefixes in (("Loss curves", ["loss."]), ("Measures", ["metric."]), ("Learning rates", ["lr."])):
        png = curves(run.metrics, prefixes)
        if png is not None:
            listed = ", ".join(names(run.metrics, prefixes))
            shown.append(Picture(title, f"Faint: every logged step; strong: smoothed. {listed}.", _base64(png)))
    tables = [table for table in (_data(run), _left_out(run), _course(run), _scores(run), _overlap(run)) if table]
    recipe = yaml.safe_dump(_without_paths(run.recipe), sort_keys=False)
    return {
        "name": run.path.name,
        "verb": run.verb,
        "tables": [*tables, *_cells(run)],
        "figures": shown,
        "warnings": warnings,
        "recipe": recipe,
    }


def comparison(runs: Sequence[Run]) -> Table | None:
    """Test scores of the fine-tuned runs side by side, where there are two or more."""
    scored = [(run, *_score(run)) for run in runs if run.results]
    if len(scored) < 2:
        return None
    rows = [
        [run.path.name, _number(value), _interval(run), str(run.results["test"]["patients"]), _init(run)]
        for run, _, value in scored
        if run.results
    ]
    text = "95% interval: bootstrap over test patients of one run; it does not hold the noise between seeds."
    return Table("", ["run", f"test {scored[0][1]}", "95% interval", "patients", "starts from"], rows, text)


def _pictures(run: Run, pictures: bool, warnings: list[str]) -> list[Picture]:
    radiographs = run.lock.get("radiographs", False)
    if radiographs and run.figures:
        warnings.append(BURNED_IN if pictures else HIDDEN)
    if radiographs and not pictures:
        return []
    return [Picture(*PICTURES.get(p.stem, (p.stem, "")), _base64(p.read_bytes())) for p in run.figures]


def _data(run: Run) -> Table | None:
    lock = run.lock
    if not lock:
        return None
    rows = [["cases", str(lock.get("cases"))], ["patients", str(lock.get("patients"))]]
    rows += [[f"subset {name}", str(number)] for name, number in lock.get("subsets", {}).items()]
    return Table("Data", ["", ""], rows, f"cache {lock.get('cache')}")


def _left_out(run: Run) -> Table | None:
    reasons = run.lock.get("left_out", {})
    if not reasons:
        return None
    text = "The files themselves are named in rejected.csv, which stays with the data."
    return Table("Left out", ["reason", "files"], [[reason, str(number)] for reason, number in reasons.items()], text)


def _course(run: Run) -> Table | None:
    if not run.metrics:
        return None
    last, seconds = run.metrics[-1], sum(line.get("time", 0) for line in run.metrics)
    waited = sum(line.get("data_wait", 0) for line in run.metrics)
    rows = [
        ["steps", str(last["step"])],
        ["samples", str(last.get("samples", "")) or "-"],
        ["seconds", f"{seconds:.0f}"],
    ]
    rows += [["waiting for data", f"{waited / seconds:.1%}"]] if seconds else []
    rows += [["peak memory", f"{last['memory']:.0f} MiB"]] if "memory" in last else []
    rows += [[name, _number(last[name])] for name in names([last], ["loss."])]
    return Table("Course of the run", ["", ""], rows, "Losses are those of the last step.")


def _scores(run: Run) -> Table | None:
    if not run.results:
        return None
    test, (score, value) = run.results["test"], _score(run)
    rows = [[f"{score} (mean over {test['cases']} cases)", _number(value), _interval(run)]]
    rows += [[name, _number(entry), ""] for name, entry in test.get("summary", {}).items() if name != score]
    rows += [[f"floor: {name}", _number(entry), ""] for name, entry in (run.results.get("floor") or {}).items()]
    return Table("Test", ["measure", "value", "95% interval over patients"], rows)


def _overlap(run: Run) -> Table | None:
    overlap = (run.results or {}).get("overlap")
    return Table("Was the test seen before?", ["", ""], [["overlap", overlap["sentence"]]]) if overlap else None


def _cells(run: Run) -> list[Table]:
    """The finished cells of a benchmark, and their summary."""
    if not run.cells:
        return []
    head = [name for name in run.cells[0] if isinstance(run.cells[0][name], str | int | float)]
    return [Table("Runs", head, [[_number(cell.get(name)) for name in head] for cell in run.cells])]


def _score(run: Run) -> tuple[str, Any]:
    """The name and value of what the task is judged by: the key of the test table that its validation is kept by."""
    test = (run.results or {})["test"]
    name = next(name for name in test if name not in ("cases", "patients", "interval", "summary", "rows"))
    return name, test[name]


def _interval(run: Run) -> str:
    limits = (run.results or {})["test"]["interval"]
    return f"{_number(limits['low'])} to {_number(limits['high'])}"


def _init(run: Run) -> str:
    return str((run.results or {}).get("init", ""))


def _without_paths(recipe: dict[str, Any]) -> dict[str, Any]:
    """Paths may hold names: the report shows none."""
    data = {
        key: "(given)" if key in ("cache", "manifest", "splits") and value else value
        for key, value in recipe.get("data", {}).items()
    }
    return {**recipe, **({"data": data} if data else {})}


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode()
