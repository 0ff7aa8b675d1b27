"""Five steps of the tiny recipes give the losses on record, so that a refactoring is seen to change nothing."""

from __future__ import annotations

import json

import pytest
from golden_losses import FILE, RUNS, STEPS, losses

# Seen between a processor's vector instructions and none: 1e-5 relative; and 2e-6 where SimSiam's loss is nearly 0.
RELATIVE, ABSOLUTE = 1e-3, 1e-5
RECORDED = json.loads(FILE.read_text())


def test_there_is_a_record_of_every_run():
    assert RECORDED.keys() == RUNS.keys()
    assert all(len(steps) == STEPS for steps in RECORDED.values())


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_on_record(name, tmp_path):
    found, expected = losses(name, tmp_path / "run"), RECORDED[name]
    assert [step.keys() for step in found] == [step.keys() for step in expected]
    for step, (new, old) in enumerate(zip(found, expected, strict=True), 1):
        assert new == pytest.approx(old, rel=RELATIVE, abs=ABSOLUTE), f"step {step}"


@pytest.mark.parametrize("name", ["phantom_tiny", "dira_adco_ccrop_tiny_3d"])
def test_all_three_stages_and_the_bank_are_on_record(name):
    names = ("discrimination", "bank", "restoration", "adversarial", "discriminator")
    assert RECORDED[name][-1].keys() == {f"loss.{loss}" for loss in names}
