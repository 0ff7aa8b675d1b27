"""The runs of a benchmark as an array of SLURM jobs, by submitit; they give the lines that runs here give."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from medssl.benchmarking.runs import Job, Line, run
from medssl.engine.signals import stop_requests
from medssl.messages import say
from medssl.types import InputError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from medssl.recipe import Options

LOOK = 2.0  # seconds between looks at what is done; submitit itself asks SLURM more rarely


def lines(jobs: Sequence[Job], options: Options, out: Path, submit: Mapping[str, Any]) -> Iterator[tuple[Job, Line]]:
    """Each job with its line, as they get done. `submit` is what submitit's executor takes, and its `cluster`.

    A signal here cancels what has not ended; what was begun goes on from its checkpoint with resume=true. Raises
    `Interrupted`, and `InputError` without submitit, for settings that it does not know, or where a run failed.
    """
    executor = _executor(out / "submitit", submit)
    with stop_requests() as stop_asked:
        with executor.batch():  # one array
            sent = [executor.submit(_there, job, options, out, torch.get_num_threads()) for job in jobs]
        waiting = list(zip(jobs, sent, strict=True))
        say(f"{len(sent)} jobs submitted: {', '.join(dict.fromkeys(one.job_id.split('_')[0] for one in sent))}")
        try:
            while waiting:
                for found in [found for found in waiting if found[1].done()]:
                    waiting.remove(found)
                    yield found[0], _result(*found)
                if stop_asked():
                    raise Interrupted("stopped: resume=true continues exactly")
                time.sleep(LOOK if waiting else 0)
        finally:
            for _, one in waiting:
                one.cancel()


def _executor(folder: Path, submit: Mapping[str, Any]) -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise InputError('submit needs the package submitit: pip install "medssl[slurm]"') from error
    settings = dict(submit)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=settings.pop("cluster", "slurm"))
        executor.update_parameters(**{"name": "medssl", **settings})
    except (RuntimeError, ValueError, TypeError, NameError) as error:
        raise InputError(f"submit: {' '.join(str(error).split())}") from error
    return executor


def _there(job: Job, options: Options, out: Path, threads: int) -> Line:
    """A run with as many threads as the command has, so that the numbers are the same to the last bit on a CPU."""
    torch.set_num_threads(threads)
    return run(job, options, out)


def _result(job: Job, sent: Any) -> Line:
    error = sent.exception()
    if error is not None:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"the run {job.cell.name} failed ({said[-1]}): its log is {sent.paths.stderr}")
    found: Line = sent.result()
    return found
