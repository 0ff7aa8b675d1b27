"""What stands first about a run: whether it is finished, what it shows, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.report.curves import series
from medssl.report.parts import limits, number
from medssl.report.verdict import verdict

if TYPE_CHECKING:
    from medssl.report.runs import Run

AT_CHANCE = 0.98  # share of the chance level, above which a loss shows no learning
COLLAPSED = 1.5  # effective rank of embeddings
SOLVED = 0.99  # top-1, above which the task has little left to teach
TAIL = 0.05  # share of the run at its end that is averaged
PAGE = "docs/normal.md"


class Lead(NamedTuple):
    """The first lines of a section."""

    status: str
    verdict: str
    following: str  # the next step
    command: str = ""  # of the next step, where there is one


def lead(run: Run) -> Lead:
    """The first lines about a run."""
    steps = (run.recipe.get("train") or {}).get("steps")
    done = run.metrics[-1]["step"] if run.metrics else 0
    if run.verb == "benchmark":
        finished = bool(run.summary)
        said = verdict(run.summary) if finished else f"{len(run.cells)} runs are done; the comparison comes at the end."
        return Lead("finished" if finished else "not finished", said, "" if finished else GO_ON)
    probe = (run.recipe.get("task") or {}).get("kind") == "probe"
    if not probe and (steps is None or done < steps):
        status = f"stopped at step {done} of {steps}" if run.metrics else "no step was logged"
        return Lead(status, _pretraining(run)[0] if run.verb == "pretrain" else "", GO_ON)
    if run.verb == "pretrain":
        return Lead("finished", *_pretraining(run))
    return Lead("finished", *_finetuning(run)) if run.results else Lead("not tested", "", GO_ON)


GO_ON = "Continue it with the same command and resume=true."


def _pretraining(run: Run) -> tuple[str, str, str]:
    """What a pretraining shows, what to do next, and the command."""
    dims = run.recipe.get("spatial_dims", 2)
    rank, top1 = _tail(run, "metric.effective_rank"), _tail(run, "metric.top1")
    loss, chance = _tail(run, "loss.discrimination"), _tail(run, "metric.chance")
    easier = f"Lower optimizers.main.lr, raise train.batch, or use harder views; {PAGE} shows such curves."
    if rank is not None and rank < COLLAPSED:
        return f"Collapsed: embeddings of different images are nearly equal (effective rank {rank:.1f}).", easier, ""
    said = []
    if loss is not None and chance is not None and loss > AT_CHANCE * chance:
        text = f"Discrimination is at chance (loss {loss:.3g}, a guess {chance:.3g}): nothing was learned from it."
        return text, f"Train longer or change the learning rate; {PAGE} shows such curves.", ""
    if loss is not None and chance is not None:
        found = "" if top1 is None else f"A view finds the other view of its image in {top1:.0%} of cases "
        said.append(
            f"{found}(loss {loss:.3g}, a guess {chance:.3g})." if found else f"Loss {loss:.3g}, chance {chance:.3g}."
        )
    elif loss is not None:
        said.append(f"Discrimination loss {loss:.3g}" + (f", effective rank {rank:.1f}." if rank is not None else "."))
    if (ends := _ends(run, "loss.restoration")) is not None:
        said.append(f"The restoration loss went from {ends[0]:.3g} to {ends[1]:.3g}.")
    if top1 is not None and top1 > SOLVED:
        said.append("That is nearly always: the task has become too easy, and harder views would teach more.")
    said.append("A loss does not say what features are worth.")
    command = f"medssl finetune probe_{dims}d data.cache=CACHE init=RUN out=runs/probe"
    return " ".join(said), "Ask a probe of the frozen features, on images with labels:", command


def _finetuning(run: Run) -> tuple[str, str, str]:
    """What a fine-tuning or probe shows, what to do next, and the command."""
    results: dict[str, Any] = run.results or {}
    test, score = results["test"], results.get("score") or ""
    value, interval = test.get(score), test["interval"]
    patients, start = test.get("patients"), results.get("init", "")
    said = f"Test {score or 'score'} {number(value)}"
    if (between := limits(interval.get("low"), interval.get("high"), ".3g")) != "-":
        said += f" (95% interval {between}, {patients} test patients)"
    floor = (results.get("floor") or {}).get(score)
    if isinstance(floor, float) and isinstance(interval.get("low"), float):
        above = "above" if interval["low"] > floor else "not surely above"
        said += f", {above} the {floor:.3g} that no image at all gives"
    if (run.recipe.get("task") or {}).get("kind") == "probe":
        return f"{said}.", "Compare it with the untrained networks and 8x8 pixels in the tables below.", ""
    if start == "scratch":
        return f"{said}.", "Predict new images:", "medssl predict RUN INPUT --out predictions"
    text = "Only a comparison shows whether pretraining helped. Run the same from scratch, then report both:"
    return f"{said}.", text, "medssl finetune ... init=scratch out=runs/scratch; medssl report runs/scratch RUN"


def _tail(run: Run, name: str) -> float | None:
    """The mean of a name over the end of the run."""
    _, values = series(run.metrics, name)
    last = values[-max(1, int(TAIL * len(values))) :]
    return float(np.nanmean(last)) if np.isfinite(last).any() else None


def _ends(run: Run, name: str) -> tuple[float, float] | None:
    """The mean of a name over its beginning and its end."""
    _, values = series(run.metrics, name)
    values = values[np.isfinite(values)]
    count = max(1, int(TAIL * len(values)))
    return (float(values[:count].mean()), float(values[-count:].mean())) if len(values) > 1 else None
