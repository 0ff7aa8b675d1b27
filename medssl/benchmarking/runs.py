"""The runs of a benchmark, one after the other or in several processes, which give the same lines."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from medssl.benchmarking import fingerprint
from medssl.data import files
from medssl.engine.signals import stop_requests
from medssl.finetuning.loop import tune
from medssl.messages import say
from medssl.types import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from medssl.benchmarking.grid import Cell
    from medssl.recipe import FinetuneRecipe, Options

Line = dict[str, Any]  # of results.jsonl
LOOK = 1.0  # seconds between looks at whether to stop


class Job(NamedTuple):
    """A cell with everything that its run needs."""

    cell: Cell
    recipe: FinetuneRecipe
    init: str  # a path, or scratch
    init_parts: str | list[str] | None  # None: those that the task needs
    fingerprint: dict[str, Any]


def lines(jobs: Sequence[Job], options: Options, out: Path, workers: int) -> Iterator[tuple[Job, Line]]:
    """Each job with its line, as they get done: in this process, or in `workers` others.

    Every process computes with as many threads as this one, so that the numbers are the same to the last bit: with
    several workers set OMP_NUM_THREADS to the share of the cores that each has. A signal stops all of them after a
    checkpoint. Raises `Interrupted`, and whatever a run raises.
    """
    if workers == 1 or len(jobs) < 2:
        for number, job in enumerate(jobs, 1):
            say(f"run {number} of {len(jobs)}: {job.cell.name}")
            yield job, run(job, options, out)
        return
    start = torch.get_num_threads(), os.getpid()
    with (
        stop_requests() as stop_asked,
        ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=start) as pool,
    ):
        waiting: dict[Future[Line], Job] = {pool.submit(run, job, options, out): job for job in jobs}
        try:
            while waiting:
                for future in wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
                if stop_asked():
                    raise Interrupted("stopped: resume=true continues exactly")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()  # a run saves a checkpoint before it stops
            raise


def _begin(threads: int, parent: int) -> None:
    """Compute as the process `parent` does, and end with it, whatever ends it."""
    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run(job: Job, options: Options, out: Path) -> Line:
    """Fine-tune one cell, or continue it; returns its line."""
    began = time.monotonic()
    folder = out / job.cell.folder
    fingerprint.write(folder, job.fingerprint)
    places = {"out": str(folder), "init": job.init, "init_parts": job.init_parts, "resume": True}
    results = tune(job.recipe, options.model_copy(update={**places, "overwrite": False, "dry_run": False}))
    test, score = results["test"], results["score"]
    line = {
        **job.cell._asdict(),
        "score": score,
        "value": test[score],
        "validation": results["validation"],
        "cases": results["cases"]["train"],
        "floor": (results["floor"] or {}).get(score),
        "seconds": round(time.monotonic() - began, 1),
        "overlap": len(results["overlap"]["patients"]),
        "settings": results["settings"],
        "spatial_dims": job.recipe.spatial_dims,
        "beside": results.get("beside", []),
        **job.fingerprint,
        "rows": test["rows"],
    }
    return files.plain(line)
