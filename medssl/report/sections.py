"""The sections of the report: one per run, and a comparison of fine-tuned runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from medssl.report import benchmarked, curves, froc
from medssl.report.lead import lead
from medssl.report.parts import Picture, Table, encoded, limits, number, without_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.report.runs import Run

BURNED_IN = "Text burned into radiographs may show a name or a date: check before you share this file."
HIDDEN = (
    "Pictures of real radiographs are left out, since text burned into them may name a person: pictures=true when "
    "pretraining makes them, and `medssl report --pictures` shows them."
)
PICTURES = {  # file name in figures/ of the run -> title, caption
    "views": (
        "Views and crops",
        "One row per sample: where the views lie, what the network sees, and what it must restore.",
    ),
    "lesions": (
        "Lesions found, missed, and false alarms",
        "Boxes of the reference in green, candidates above the operating threshold in yellow; test images.",
    ),
    "restored": (
        "Restoration",
        "The input of the network, what it restored, the target, and the difference.",
    ),
}


GROUPS = (("Loss curves", ["loss."]), ("Measures", ["metric."]), ("Learning rates", ["lr."]))


def section(run: Run, *, pictures: bool) -> dict[str, Any]:
    """What the page says about one run."""
    warnings: list[str] = []
    shown = _pictures(run, pictures, warnings)
    said = (_scores(run), *_probes(run), _overlap(run), _data(run), _left_out(run), _course(run), _losses(run))
    groups = [("Lesions", froc.charts(run.results))]
    groups += [(title, curves.charts(run.metrics, prefixes)) for title, prefixes in GROUPS]
    return {
        "name": run.path.name,
        "verb": run.verb,
        "lead": lead(run),
        "about": _about(run),
        "command": _command(run),
        "first": benchmarked.figures(run.summary),
        "tables": [*benchmarked.tables(run.summary), *benchmarked.subgroups(run.subgroups), *filter(None, said)],
        "charts": [(title, charts) for title, charts in groups if charts],
        "figures": shown,
        "folded": benchmarked.runs(run.cells),
        "warnings": warnings,
        "recipe": yaml.safe_dump(without_paths(run.recipe), sort_keys=False),
    }


def _about(run: Run) -> list[str]:
    """Recipe, date and version, as far as the run says."""
    version = (run.lock.get("versions") or {}).get("medssl")
    recipe, begun = run.start.get("recipe"), run.start.get("begun")
    said = (recipe and f"recipe {recipe}", begun and f"begun {begun}", version and f"medssl {version}")
    return [str(words) for words in said if words]


def _command(run: Run) -> str:
    """The command that began the run, without its paths."""
    words = [str(word) for word in run.start.get("command") or []]
    return " ".join(["medssl", *words]) if words else ""


def comparison(runs: Sequence[Run]) -> Table | None:
    """Test scores of the fine-tuned runs side by side, if there are two or more."""
    scored = [(run, *_score(run)) for run in runs if run.results]
    if len(scored) < 2:
        return None
    rows = [
        [run.path.name, number(value), _interval(run), str(run.results["test"].get("patients")), _init(run)]
        for run, _, value in scored
        if run.results
    ]
    text = "95% interval: bootstrap over the test patients of one run; it does not include the variation between seeds."
    return Table("", ["run", f"test {scored[0][1]}", "95% interval", "patients", "initial weights"], rows, text)


def _pictures(run: Run, pictures: bool, warnings: list[str]) -> list[Picture]:
    radiographs = run.lock.get("radiographs", False)
    if radiographs and pictures and run.figures:
        warnings.append(BURNED_IN)
    elif radiographs and run.verb == "pretrain":
        warnings.append(HIDDEN)
    if radiographs and not pictures:
        return []
    return [Picture(*PICTURES.get(p.stem, (p.stem, "")), encoded(p.read_bytes())) for p in run.figures]


def _data(run: Run) -> Table | None:
    lock = run.lock
    if not lock:
        return None
    rows = [["cases", str(lock.get("cases"))], ["patients", str(lock.get("patients"))]]
    rows += [[f"subset {name}", str(number)] for name, number in lock.get("subsets", {}).items()]
    return Table("Data", ["", ""], rows, f"cache {str(lock.get('cache'))[:12]}")


def _left_out(run: Run) -> Table | None:
    reasons = run.lock.get("left_out", {})
    if not reasons:
        return None
    text = "rejected.csv, beside the manifest, names the files."
    return Table(
        "Skipped files", ["reason", "files"], [[reason, str(number)] for reason, number in reasons.items()], text
    )


def _course(run: Run) -> Table | None:
    if not run.metrics:
        return None
    last, logged = run.metrics[-1], _sum(run, "time")
    seconds = logged / len(run.metrics) * last["step"]  # not every step is logged
    rows = [
        ["steps", str(last["step"])],
        ["samples", str(last.get("samples", "")) or "-"],
        ["seconds", f"{seconds:.0f}"],
    ]
    rows += [["waiting for data", f"{_sum(run, 'data_wait') / logged:.1%}"]] if logged else []
    rows += [["peak memory", f"{last['memory']:.0f} MiB"]] if last.get("memory") else []
    return Table("Training", ["", ""], rows)


def _losses(run: Run) -> Table | None:
    last = run.metrics[-1] if run.metrics else {}
    rows = [[name, number(value)] for name, value in last.items() if name.startswith("loss.")]
    return Table("Losses of the last step", ["", ""], rows) if rows else None


def _sum(run: Run, name: str) -> float:
    return sum(line.get(name) or 0 for line in run.metrics)


def _scores(run: Run) -> Table | None:
    if not run.results:
        return None
    test, (score, value) = run.results["test"], _score(run)
    rows = [[f"{score} ({test.get('cases')} cases)", number(value), _interval(run)]]
    rows += [[name, number(entry), ""] for name, entry in test.get("summary", {}).items() if name != score]
    rows += [
        [f"no image (floor): {name}", number(entry), ""] for name, entry in (run.results.get("floor") or {}).items()
    ]
    return Table("Test", ["measure", "value", "95% interval over patients"], rows)


def _probes(run: Run) -> list[Table | None]:
    """The baselines beside a probe of frozen features, with all labels and with few."""
    results = run.results or {}
    return [
        _side_by_side("Probes of frozen features", results, "beside", "±: standard deviation over untrained networks."),
        _side_by_side(
            "Probes with few labels", results, "few_shot", "±: standard deviation over draws of the labelled images."
        ),
    ]


def _side_by_side(title: str, results: dict[str, Any], key: str, text: str) -> Table | None:
    rows = [
        [
            *([str(row["shots"])] if "shots" in row else []),
            *(str(row[name]) for name in ("network", "features", "probe")),
            number(row["value"], ".4f"),
            number(row["sd"], ".4f"),
        ]
        for row in results.get(key) or []
    ]
    head = ["network", "features", "probe", f"test {results.get('score')}", "±"]
    return Table(title, ["images", *head] if key == "few_shot" else head, rows, text) if rows else None


def _overlap(run: Run) -> Table | None:
    said = str(((run.results or {}).get("overlap") or {}).get("sentence", ""))
    return Table("Were test patients in the pretraining data?", [], [], said[:1].upper() + said[1:]) if said else None


def _score(run: Run) -> tuple[str, Any]:
    """Name and value of the score of the task: the key of the test table that is not one of the common keys."""
    test = (run.results or {})["test"]
    others = ("cases", "patients", "interval", "summary", "rows")
    name = next((name for name in test if name not in others), "score")
    return name, test.get(name)


def _interval(run: Run) -> str:
    found = (run.results or {})["test"]["interval"]
    return limits(found.get("low"), found.get("high"), ".4g")


def _init(run: Run) -> str:
    return str((run.results or {}).get("init", ""))
