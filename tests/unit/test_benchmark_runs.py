"""The runs of a benchmark give the same table from one process, from several, and after any number of kills."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from finetuning import SEGMENT, options

from medssl.benchmarking.loop import benchmark
from medssl.data.phantom.cases import phantom_cache
from medssl.recipe import BenchmarkRecipe, validate
from medssl.types import InputError

NOT_COMPUTED = ("seconds",)


def grid(folder, **changes):
    phantom_cache(folder / "cache", 6, (16, 16, 16), 0, "ct")
    (folder / "segment.yaml").write_text(SEGMENT)
    task = {"recipe": str(folder / "segment.yaml"), "data": {"cache": str(folder / "cache")}, "train": {"steps": 2}}
    content = {
        "inits": {"scratch": "scratch", "longer": {"init": "scratch", "longer": 2}},
        "tasks": {"ct": task},
        "fractions": [0.5, 1],
        "seeds": [0, 1],
    }
    return content | changes


def table(out):
    """The summary, and what each run gave, in the order of the grid."""
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    runs = sorted(({k: v for k, v in line.items() if k not in NOT_COMPUTED} for line in lines), key=json.dumps)
    return json.loads((out / "summary.json").read_text()), runs


def test_two_processes_give_what_one_gives(tmp_path):
    content = grid(tmp_path, fractions=[1], seeds=[0])
    for name, workers in (("one", 1), ("two", 2)):
        made = validate(BenchmarkRecipe, {**content, "workers": workers}, "benchmark")
        benchmark(made, options(tmp_path / name))
    assert table(tmp_path / "one") == table(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_five_kills_change_nothing(tmp_path, workers):
    """SIGKILL at random moments, resumed each time, 2 x 2 x 2 x 2 cells."""
    folder = tmp_path / "b.yaml"
    content = grid(tmp_path)
    content["tasks"]["again"] = json.loads(json.dumps(content["tasks"]["ct"]))
    folder.write_text(yaml.safe_dump({**content, "workers": workers}))

    def start(out):
        words = [sys.executable, "-m", "medssl.cli", "benchmark", str(folder), f"out={out}", "device=cpu"]
        more = ["resume=true"] if out.is_dir() and any(out.iterdir()) else []
        return subprocess.Popen([*words, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    began = time.monotonic()
    whole = start(tmp_path / "straight")
    assert whole.wait() == 0, whole.stderr.read()
    took = time.monotonic() - began
    rng, out = random.Random(workers), tmp_path / "killed"
    for _ in range(5):
        run = start(out)
        try:
            run.wait(rng.uniform(0.3, 0.8) * took / 2)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
        time.sleep(3)  # processes that it started end with it
    last = start(out)
    assert last.wait() == 0, last.stderr.read()
    assert table(out) == table(tmp_path / "straight")


def test_jobs_of_submitit_give_what_runs_here_give(tmp_path):
    """By submitit's local executor, which starts a process per job as SLURM does."""
    pytest.importorskip("submitit")
    content = grid(tmp_path, fractions=[1], seeds=[0])
    for name, submit in (("here", None), ("jobs", {"cluster": "local", "timeout_min": 60})):
        benchmark(validate(BenchmarkRecipe, {**content, "submit": submit}, "benchmark"), options(tmp_path / name))
    assert table(tmp_path / "here") == table(tmp_path / "jobs")


def test_a_job_that_fails_is_told_with_its_log(tmp_path):
    pytest.importorskip("submitit")
    torch.save({"encoder.x": torch.zeros(2)}, tmp_path / "other.pt")
    content = grid(tmp_path, fractions=[1], seeds=[0], inits={"other": str(tmp_path / "other.pt")})
    made = validate(BenchmarkRecipe, {**content, "submit": {"cluster": "local", "timeout_min": 60}}, "benchmark")
    with pytest.raises(InputError, match=r"the run .*other.* failed \(.+\): its log is .*_log.err"):
        benchmark(made, options(tmp_path / "out"))


def test_submit_refuses_what_submitit_does_not_know(tmp_path):
    pytest.importorskip("submitit")
    made = validate(BenchmarkRecipe, {**grid(tmp_path), "submit": {"cluster": "local", "hours": 3}}, "benchmark")
    with pytest.raises(InputError, match=r"submit: .*hours"):
        benchmark(made, options(tmp_path / "out"))


def test_jobs_and_processes_here_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="drop one"):
        validate(BenchmarkRecipe, {**grid(tmp_path), "submit": {}, "workers": 2}, "benchmark")


def test_a_finished_grid_submits_nothing(tmp_path, monkeypatch):
    content = grid(tmp_path, fractions=[1], seeds=[0])
    benchmark(validate(BenchmarkRecipe, content, "benchmark"), options(tmp_path / "out"))
    before = table(tmp_path / "out")
    monkeypatch.setattr("medssl.benchmarking.slurm._executor", lambda *_: pytest.fail("jobs are submitted"))
    made = validate(BenchmarkRecipe, {**content, "submit": {"cluster": "local"}}, "benchmark")
    benchmark(made, options(tmp_path / "out", resume=True))
    assert table(tmp_path / "out") == before
