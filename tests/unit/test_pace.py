"""The console line: what a step costs and how long is left, and each loss beside its chance level."""

from __future__ import annotations

import doctest

import pytest

from medssl.engine import pace
from medssl.pretraining import console


def test_the_examples_hold():
    assert doctest.testmod(pace) == (0, 1)
    assert doctest.testmod(console) == (0, 1)


def test_what_is_said_is_the_mean_since_the_last_line():
    found = pace.Pace(steps=100, batch=16)
    for seconds in (1.0, 3.0):
        found.see({"time": seconds, "data_wait": 0.5})
    assert found.step_seconds == 2.0
    assert found.words(2, 2048.0) == "8 images/s, waiting for data 25%, 2.0 GiB, 3 min 16 s left"
    assert found.step_seconds == 2.0, "until the next step"
    found.see({"time": 2.0, "data_wait": 0.0})
    assert found.words(99, None) == "8 images/s, waiting for data 0%, 2 s left"


def test_nothing_is_said_of_no_step_and_no_time_left_at_the_end():
    found = pace.Pace(steps=1, batch=2)
    assert found.words(0, 1.0) == ""
    found.see({"time": 1.0, "data_wait": 0.0})
    assert "left" not in found.words(1, 1.0)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"step": 3, "loss.discrimination": -0.5, "metric.effective_rank": 9.96},
            "discrimination -0.5, effective rank 9.96",
        ),
        ({"loss.restoration": 0.0123456, "lr.main": 1.0}, "restoration 0.01235"),
        ({"lr.main": 1.0}, ""),
    ],
)
def test_a_loss_without_a_chance_level_stands_alone(record, expected):
    assert console.losses(record) == expected
