from __future__ import annotations

import json
import math
import os
import signal
import socket

import pytest

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


def test_tensorboard_reads_a_picture_with_its_size(tmp_path):
    from io import BytesIO

    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    drawn = BytesIO()
    Image.new("RGBA", (7, 5)).save(drawn, format="png")
    board = log.Board(tmp_path, step=3)
    board.picture("pictures/views", drawn.getvalue(), 3)
    board.close()
    read = EventAccumulator(str(tmp_path)).Reload()
    (image,) = read.Images("pictures/views")
    assert (image.step, image.width, image.height, image.encoded_image_string) == (3, 7, 5, drawn.getvalue())


def test_other_ranks_write_nothing(tmp_path, capsys):
    silent = log.MetricsLog(None)
    silent.write(record(1))
    silent.close()
    log.TrainLog(None).say("hello")
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_sentences_go_to_the_file_and_to_who_listens(tmp_path, said, capsys):
    log.TrainLog(tmp_path).say("step 1 of 2")
    assert said() == "step 1 of 2"
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "train.log").read_text().endswith(" step 1 of 2\n")


def test_a_signal_asks_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_first_ctrl_c_asks_says_what_it_waits_for_and_the_second_ends_the_run(capfd):
    before = signal.getsignal(signal.SIGINT)
    with stop_requests(lambda: 61.2) as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()
        said = capfd.readouterr().err
        assert "after this step (a step takes about 61 s), with a checkpoint; Ctrl-C again stops at once" in said
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_not_finite_is_null_in_the_file(tmp_path):
    metrics = log.MetricsLog(tmp_path)
    metrics.write({"step": 1, "loss.a": 2.0, "metric.rank": math.nan, "metric.norm": math.inf})
    metrics.close()

    def refuse(name):
        raise ValueError(name)  # JSON has no such number

    path = tmp_path / "metrics.jsonl"
    expected = {"step": 1, "loss.a": 2.0, "metric.rank": None, "metric.norm": None}
    assert json.loads(path.read_text(), parse_constant=refuse) == expected
    path.write_text('{"step": 1, "metric.rank": NaN}\n')  # of an earlier version
    log.cut_back(path, 1)
    assert log.read(path) == [{"step": 1, "metric.rank": None}]
    json.loads(path.read_text(), parse_constant=refuse)


def test_tensorboard_reads_the_curves_and_no_file_name_holds_the_host(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step, until in ((0, 6), (4, 8)):  # killed after 6 with a checkpoint of 4, then resumed
        metrics = log.MetricsLog(tmp_path, step=step)
        for number in range(step + 1, until + 1):
            metrics.write({"step": number, "loss.restoration": 10.0 * number + step})
        metrics.close()
    files = list((tmp_path / "tb").iterdir())
    assert len(files) == 2
    assert not any(socket.gethostname() in file.name for file in files)
    found = EventAccumulator(str(tmp_path / "tb")).Reload().Scalars("loss/restoration")
    expected = [(1, 10), (2, 20), (3, 30), (4, 40), (5, 54), (6, 64), (7, 74), (8, 84)]
    assert [(event.step, event.value) for event in found] == expected
