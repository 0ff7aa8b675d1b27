"""The benchmark section of the report: figures, tables of means and differences, and the list of runs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from medssl.report.parts import Picture, Table, encoded, limits, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from matplotlib.axes import Axes

Entry = dict[str, Any]  # of summary.json
COLOURS = ("#1f4e79", "#b3541e", "#2e7d5b", "#7b4ea3", "#b08a1e", "#3a8fb7")
SCRATCH, FLOOR = "#6b7785", "#a9b4bf"
DODGE = 0.08  # offset between inits with the same amount of labels, relative to the distance between amounts
RUNS = ("task", "init", "fraction", "seed", "score", "value", "validation", "cases", "floor", "overlap", "seconds")
INTERVALS = (
    "n: number of seeds. draws: number of different sets of labelled cases. Intervals are 95% and treat both seeds and "
    "test patients as random samples (multi-reader multi-case analysis with seeds as readers). A seed sets the "
    "randomness of a run and, if draws is above 1, which cases have labels; an interval covers the variation between "
    "runs, between sets of labelled cases, and between test patients. It does not cover other splits into training and "
    "test, nor repeated pretraining, unless the init has one run per seed. With one seed there is no interval (-). "
)
PAIRED = (
    "Differences and their p are paired by seed and test patient. Holm: p corrected for the primary comparisons "
    "of the recipe; all others are exploratory. Over seeds: exact sign-flip test, with the smallest p that n seeds can "
    "give, 2 / 2^n. Won: share of seeds. Labels of scratch: how many labels scratch needs for the same score, with 95% "
    "limits. Rank: mean over tasks, with 95% limits and how often it comes first."
)
SUBGROUPS = (
    "The test patients apart by what the table says of them. All of this is exploratory: groups are small, nothing is "
    "corrected for their number, and a difference within one group says nothing about a difference between groups."
)
CAPTION = (
    "Mean over seeds; bars: 95% interval over seeds and test patients, cut at 0 and 1. Inits may differ although bars "
    "overlap: the difference in the table is paired."
)


def tables(summary: Sequence[Entry]) -> list[Table]:
    """One table per task, with each init at each amount of labels."""
    return [_table(task, entries) for task, entries in _by_task(summary)]


def figures(summary: Sequence[Entry]) -> list[Picture]:
    """One figure per task: score over amount of labels, one line per init."""
    return [
        Picture(f"Label efficiency: {task}", CAPTION, encoded(_png(entries))) for task, entries in _by_task(summary)
    ]


def runs(cells: Sequence[dict[str, Any]]) -> list[Table]:
    """The lines of results.jsonl."""
    if not cells:
        return []
    head = [name for name in RUNS if any(cell.get(name) is not None for cell in cells)]
    form = dict.fromkeys(("value", "validation", "floor"), ".4f") | {"seconds": ".0f"}
    rows = [[number(cell.get(name), form.get(name, ".4g")) for name in head] for cell in cells]
    return [Table("Every run", head, rows)]


def subgroups(entries: Sequence[Entry]) -> list[Table]:
    """One table per task, with each init in each subgroup of the test patients."""
    return [_subgroups(task, found) for task, found in _by_task(entries)]


def _subgroups(task: str, entries: Sequence[Entry]) -> Table:
    to = next((entry["to"] for entry in entries if "to" in entry), None)
    head = ["labels", "attribute", "group", "patients", "init", entries[0]["score"], "95% interval"]
    head += [f"difference to {to}", "95% interval", "p"] if to else []
    rows = []
    for entry in entries:
        named = [entry["fraction"], entry["attribute"], entry["group"], number(entry["patients"]), entry["init"]]
        scores = [number(entry["mean"], ".4f"), limits(entry.get("mean_low"), entry.get("mean_high"))]
        rows.append(named + scores + (_differs(entry) if to else []))
    return Table(f"Subgroups: {task}", head, rows, SUBGROUPS)


def _table(task: str, entries: Sequence[Entry]) -> Table:
    to = next((entry["to"] for entry in entries if "to" in entry), None)
    head = ["labels", "cases", "init", entries[0]["score"], "sd", "95% interval", "n", "draws"]
    head += [f"difference to {to}", "95% interval", "p"] if to else []
    more = [name for name, shown in MORE.items() if any(shown(entry) for entry in entries)]
    head += more
    rows = []
    for fraction in fractions(entries):
        here = [entry for entry in entries if entry["fraction"] == fraction]
        rows += [_row(entry, difference=to is not None) + [MORE[name](entry) for name in more] for entry in here]
        beside: dict[str, float] = next((entry["beside"] for entry in here if entry.get("beside")), {})
        rows += [[fraction, "", name, number(value, ".4f"), *[""] * (len(head) - 4)] for name, value in beside.items()]
        floor = next((entry["floor"] for entry in here if entry.get("floor") is not None), None)
        if floor is not None:
            rows.append([fraction, "", "no image (floor)", number(floor, ".4f"), *[""] * (len(head) - 4)])
    return Table(f"Scores: {task}", head, rows, INTERVALS + (PAIRED if to else ""))


def _row(entry: Entry, *, difference: bool) -> list[str]:
    row = [entry["fraction"], number(entry.get("cases")), entry["init"], number(entry["mean"], ".4f")]
    row += [number(entry.get("sd"), ".4f"), limits(entry.get("mean_low"), entry.get("mean_high"))]
    row += [number(entry["n"]), number(entry.get("draws"))]
    return row + (_differs(entry) if difference else [])


def _differs(entry: Entry) -> list[str]:
    """The difference to the baseline with its limits and p; empty for the baseline itself."""
    if "difference" not in entry:
        return ["", "", ""]
    shown = number(entry["difference"], "+.4f"), limits(entry["low"], entry["high"], "+.4f")
    return [*shown, number(entry["p"], ".3f")]


def _holm(entry: Entry) -> str:
    return number(entry.get("p_holm"), ".3f") if entry.get("family") else ""


def _over_seeds(entry: Entry) -> str:
    p = entry.get("p_seeds")
    return "" if p is None else f"{p:.3f} (smallest possible {entry['p_seeds_least']:.3f})"


def _labels(entry: Entry) -> str:
    if "labels_reached" not in entry:
        return ""
    limits = f" ({entry['labels_low']} to {entry['labels_high']})" if "labels_low" in entry else ""
    return f"{entry['labels_reached']}{limits}"


def _rank(entry: Entry) -> str:
    if "rank" not in entry:
        return ""
    return f"{entry['rank']:.2f} ({entry['rank_low']:.2f} to {entry['rank_high']:.2f}), first {entry['rank_first']:.0%}"


MORE: dict[str, Callable[[Entry], str]] = {  # columns that only some benchmarks have
    "p, Holm": _holm,
    "p over seeds": _over_seeds,
    "won": lambda entry: f"{entry['won']:.0%}" if entry.get("p_seeds") is not None else "",
    "labels of scratch": _labels,
    "mean rank": _rank,
}


def fractions(entries: Iterable[Entry]) -> list[str]:
    """The amounts of labels, in ascending order."""
    cases: dict[str, float] = {}
    for entry in entries:
        cases.setdefault(entry["fraction"], entry.get("cases") or 0)
    return sorted(cases, key=lambda name: cases[name])


def _by_task(summary: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    names = dict.fromkeys(entry["task"] for entry in summary)
    return [(name, [entry for entry in summary if entry["task"] == name]) for name in names]


def _png(entries: Sequence[Entry]) -> bytes:
    from matplotlib.figure import Figure  # no pyplot: no global state, no window

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.0, 3.2), layout="constrained")  # small, so that a telephone can show its words
        draw(figure.add_subplot(), entries)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def draw(axes: Axes, entries: Sequence[Entry]) -> None:
    """Draw one task; entries without a mean are skipped, those without limits have no bar."""
    order = fractions(entries)
    inits = list(dict.fromkeys(entry["init"] for entry in entries))
    baseline = next((entry["to"] for entry in entries if "to" in entry), None)
    colours = iter(COLOURS * len(inits))
    for place_of, init in enumerate(inits):
        found = {entry["fraction"]: entry for entry in entries if entry["init"] == init}
        mean, low, high = (_values(found, order, key) for key in ("mean", "mean_low", "mean_high"))
        place = np.arange(len(order)) + DODGE * (place_of - (len(inits) - 1) / 2)
        bars = np.nan_to_num(np.maximum([mean - low, high - mean], 0))
        colour = SCRATCH if init == baseline else next(colours)
        axes.errorbar(place, mean, bars, label=init, color=colour, marker="o", markersize=4, capsize=3, linewidth=1.4)
    floor = _values({e["fraction"]: e for e in entries if e.get("floor") is not None}, order, "floor")
    if np.isfinite(floor).any():
        axes.plot(np.arange(len(order)), floor, ":", color=FLOOR, label="no image (floor)")
    cases = {entry["fraction"]: entry.get("cases") for entry in entries}
    axes.set_xticks(range(len(order)), [f"{name}\n{number(cases[name])} cases" for name in order])
    axes.set_xlim(-0.4, len(order) - 0.6)
    axes.set_xlabel("labelled training cases")
    axes.set_ylabel(f"test {entries[0]['score']}")
    means = _values(dict(enumerate(entries)), range(len(entries)), "mean")
    if not ((means < 0) | (means > 1)).any():  # a score between 0 and 1: with two seeds an interval is far wider
        bottom, top = map(float, axes.get_ylim())
        axes.set_ylim(max(bottom, -0.05), min(top, 1.05))
    axes.grid(axis="y", color="#e6ebf0", linewidth=0.8)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _values(found: Mapping[Any, Entry], order: Sequence[Any], key: str) -> np.ndarray:
    return np.array([found.get(name, {}).get(key) for name in order], dtype=float)  # None becomes NaN
