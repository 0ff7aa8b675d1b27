"""The tables of docs/evidence.md from the committed rows: nothing in them is typed by hand.

run: python benchmarks/evidence/tables.py > docs/evidence.md
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from answers import Question, difference, mean, readers
from run import done, units
from store import PLAN, rows

from medssl.metrics.statistics.ranking import ranking
from medssl.metrics.statistics.signflip import holm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from medssl.metrics.statistics.mrmc import MRMC

BASELINES = ["untrained", "pixels"]
RANKED = [Question("probe", "T1", 10), Question("probe", "T2", 20), Question("probe", "T3", 1)]


def main() -> None:
    """Print the page."""
    for line in page():
        print(line)


def page() -> Iterator[str]:
    """The lines of docs/evidence.md."""
    yield "# Evidence: does pretraining help?"
    yield ""
    yield "Made by `python benchmarks/evidence/tables.py` from `benchmarks/evidence/rows/`; do not edit. The plan, with"
    yield "what is primary, is `benchmarks/evidence/plan.yaml`. Scores are means over readers (label draw, pretraining,"
    yield "initial weights) and patients; an interval is of a difference, 95%, readers and patients both random; - was"
    yield "not run. **Where an arm has one pretraining, an interval says nothing about other pretrainings**: two that"
    yield "are trained alike can differ by .02 in a probe of classes and by .05 to .1 in that of lungs. Two fifths of"
    yield "the patients of T2 and T3 were looked at to choose the recipes (docs/learning.md), and lie in the folds."
    yield from _probes()
    yield from _differences()
    yield from _finetunings()
    yield from _primary()
    yield from _ranks()
    yield from _pretrainings()
    yield from _missing()
    yield from _go_on()


def _arms() -> list[str]:
    return [*PLAN["arms"], *BASELINES]


def _probes() -> Iterator[str]:
    for task, about in PLAN["tasks"].items():
        for level in ("deep", "all") if about["kind"] == "classes" else ("all",):
            said = {"deep": "mean of the deepest level", "all": "all levels"}[level]
            yield from ["", f"## Frozen probe, {task}: {about['what']} ({about['score']}, {said})", ""]
            head = [f"{count} a class" if about["each"] == "class" else f"{count} images" for count in about["counts"]]
            body = [
                [
                    arm,
                    _networks(arm, task),
                    *(_number(mean(Question("probe", task, c, level), arm)) for c in about["counts"]),
                ]
                for arm in _arms()
            ]
            yield from _table(["arm", "networks", *head], body)


def _networks(arm: str, task: str) -> int | str:
    """How many of an arm were probed: pretrainings, or untrained networks."""
    return len({row["seed"] for row in rows("probes") if (row["arm"], row["task"]) == (arm, task)}) or "-"


def _differences() -> Iterator[str]:
    yield from ["", "## Frozen probe: differences to untrained networks and to 8x8 pixels", ""]
    body = []
    for question in _asked():
        for arm in PLAN["arms"]:
            found = [difference(question, arm, baseline) for baseline in BASELINES]
            if any(found):
                body.append([question.task, question.count, question.level, arm, *map(_limits, found)])
    yield from _table(["task", "labels", "level", "arm", "less untrained", "less pixels"], body)


def _asked() -> Iterator[Question]:
    for task, about in PLAN["tasks"].items():
        levels = ("deep", "all") if about["kind"] == "classes" else ("all",)
        yield from (Question("probe", task, count, level) for count in about["counts"] for level in levels)


def _finetunings() -> Iterator[str]:
    about = PLAN["finetune"]
    yield from ["", "## Few-shot fine-tuning, rate and length of each start chosen alike on validation", ""]
    body = []
    for task, asked in about["tasks"].items():
        for count in asked["counts"]:
            question = Question("finetune", task, count)
            for start in about["starts"]:
                against = None if start == "scratch" else difference(question, start, "scratch")
                body.append([task, count, start, _number(mean(question, start)), _limits(against), _p(against)])
    yield from _table(["task", "labels", "start", "score", "less scratch", "p"], body)


def _primary() -> Iterator[str]:
    yield from ["", "## The primary family (Holm)", ""]
    asked = PLAN["primary"]
    found = [difference(Question(a["answer"], a["task"], a["count"]), a["arm"], a["against"]) for a in asked]
    corrected = holm([math.nan if one is None else one.p for one in found])
    body = [
        [a["answer"], a["task"], a["count"], f"{a['arm']} less {a['against']}", _limits(one), _p(one), _number(p, 3)]
        for a, one, p in zip(asked, found, corrected, strict=True)
    ]
    yield from _table(["answer", "task", "labels", "difference", "estimate", "p", "p (Holm)"], body)


def _ranks() -> Iterator[str]:
    yield from ["", "## Mean rank of the frozen probes: T1 at 10, T2 at 20, T3 at 1", ""]
    arms = [arm for arm in PLAN["arms"] if all(readers(question, arm).size for question in RANKED)]
    if len(arms) < 2:
        yield "Fewer than two arms are complete."
        return
    scores = [np.stack([readers(question, arm) for arm in arms]) for question in RANKED]
    found = ranking(scores, np.random.default_rng(0))
    body = [
        [arm, _number(found.mean[i], 2), f"{found.low[i]:.2f} to {found.high[i]:.2f}", _number(found.first[i], 2)]
        for i, arm in enumerate(arms)
    ]
    yield from _table(["arm", "mean rank", "95%", "P(first)"], body)


def _pretrainings() -> Iterator[str]:
    yield from ["", "## Pretrainings", ""]
    body = [[row["unit"], row["samples"], row["steps"], row["recipe"], row["commit"]] for row in rows("pretrainings")]
    yield from _table(["pool.arm.seed", "samples", "steps", "recipe", "commit"], body)


def _missing() -> Iterator[str]:
    finished, planned = done(), [unit.name for unit in units()]
    missing = [name for name in planned if name not in finished]
    yield from ["", "## Planned and not run yet", ""]
    yield f"{len(missing)} of {len(planned)} units:"
    yield ""
    groups: dict[str, list[str]] = {}
    for name in missing:  # tune.T1.n25.ours.s3 belongs to tune.T1.n25.ours
        groups.setdefault(name.rpartition(".")[0] if name.startswith("tune.") else name, []).append(name)
    yield from _table(["unit", "of them"], [[group, len(names)] for group, names in groups.items()])


def _go_on() -> Iterator[str]:
    yield from ["", "## How to go on", ""]
    yield "```"
    yield "python benchmarks/evidence/run.py --data DATA --work WORK --workers 2"
    yield "python benchmarks/evidence/tables.py > docs/evidence.md"
    yield "```"
    yield ""
    yield "does what is listed above, in that order, and nothing twice. A pretraining that has a row but whose run"
    yield "directory is gone is computed anew where another run begins as it, or a fine-tuning starts from it."


def _table(head: Iterable[str], body: Iterable[Iterable[Any]]) -> Iterator[str]:
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in body:
        yield "| " + " | ".join(map(str, row)) + " |"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _limits(found: MRMC | None) -> str:
    if found is None:
        return "-"
    limits = "" if math.isnan(found.low) else f" ({found.low:+.3f} to {found.high:+.3f})"
    return f"{found.estimate:+.3f}{limits}"


def _p(found: MRMC | None) -> str:
    return "-" if found is None else f"{found.p:.3g}"


if __name__ == "__main__":
    main()
