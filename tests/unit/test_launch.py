"""Processes that were started must be those that are asked for: others would each be a whole run."""

from __future__ import annotations

import pytest

from medssl.recipe import Options
from medssl.runtime import launch
from medssl.types import InputError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("started", "told"),
    [
        (TORCHRUN, "torchrun started 4 processes, but devices=1 and num_nodes=1 make 1: set devices"),
        ({"SLURM_STEP_NUM_TASKS": "8"}, "srun started 8 processes, but devices=1 and num_nodes=1 make 1"),
        ({**TORCHRUN, "SLURM_STEP_NUM_TASKS": "2"}, "torchrun started 4"),  # srun started a torchrun on each of 2 nodes
    ],
)
def test_processes_that_would_not_know_of_each_other_are_refused(started, told, monkeypatch):
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told):
        launch.fabric(Options(device="cpu"), "32")


@pytest.mark.parametrize(
    "started", [{}, {"WORLD_SIZE": "4"}, {"SLURM_STEP_NUM_TASKS": "1"}, {**TORCHRUN, "WORLD_SIZE": "1"}]
)
def test_one_process_may_come_from_anywhere(started, monkeypatch):
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert launch.fabric(Options(device="cpu"), "32").world_size == 1


def test_as_many_processes_as_asked_for_are_taken(monkeypatch):
    for name, value in {**TORCHRUN, "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launch.fabric(Options(device="cpu", devices=2, strategy="ddp"), "32").world_size == 2
