from __future__ import annotations

import json
import os
import signal

from medssl.engine import log
from medssl.engine.signals import stop_requests


def record(step):
    return {"step": step, "loss.restoration": 1 / step}


def test_resume_cuts_back_to_the_checkpoint_and_goes_on(tmp_path):
    first = log.MetricsLog(tmp_path)
    for step in range(1, 8):
        first.write(record(step))
    first.close()
    again = log.MetricsLog(tmp_path, step=4)
    for step in range(5, 9):
        again.write(record(step))
    again.close()
    assert log.read(tmp_path / "metrics.jsonl") == [record(step) for step in range(1, 9)]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(record(1)) + "\n" + json.dumps(record(2)) + '\n{"step": 3, "loss.re')
    assert [r["step"] for r in log.read(path)] == [1, 2]
    log.cut_back(path, 5)
    assert path.read_text() == json.dumps(record(1)) + "\n" + json.dumps(record(2)) + "\n"


def test_a_run_without_checkpoint_starts_empty(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record(1)) + "\n")
    log.MetricsLog(tmp_path, step=0).close()
    assert log.read(tmp_path / "metrics.jsonl") == []


def test_other_ranks_write_nothing(tmp_path, capsys):
    silent = log.MetricsLog(None)
    silent.write(record(1))
    silent.close()
    log.TrainLog(None).say("hello")
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_sentences_go_to_file_and_screen(tmp_path, capsys):
    log.TrainLog(tmp_path).say("step 1 of 2")
    assert capsys.readouterr().out == "step 1 of 2\n"
    assert (tmp_path / "train.log").read_text().endswith(" step 1 of 2\n")


def test_a_signal_asks_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before
