"""A file is whole or not there; tables and JSON lines come back as they were written."""

from __future__ import annotations

import math

import pytest

from medssl.data import files
from medssl.types import InputError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    files.write(path, "old")

    def half():
        with files.writing(path) as partial:
            partial.write_text("half of the n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_the_old_file_is_seen_and_the_name_keeps_its_suffix(tmp_path):
    path = tmp_path / "below" / "mask.nii.gz"
    files.write(path, "old")
    with files.writing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.name.endswith(".nii.gz")
        assert partial.parent == path.parent
    assert path.read_text() == "new"


def test_what_a_kill_left_behind_is_overwritten(tmp_path):
    path = tmp_path / "a.csv"
    with files.writing(path) as partial:
        partial.write_text("first")
    partial.write_text("left by a kill, longer than what follows")
    files.write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_comes_back_with_quotes_newlines_and_formulas_as_they_were(tmp_path):
    path, rows = tmp_path / "a.csv", [["=1+1", 'Köln, "west"'], ["two\nlines", ""]]
    files.write_csv(path, ["id", "source"], rows)
    assert [list(row.values()) for row in files.read_csv(path)] == rows
    assert b"\r" not in path.read_bytes()
    assert files.read_csv(tmp_path / "none.csv") == []


def test_lines_come_back_without_what_a_kill_cut_short_and_say_which_is_damaged(tmp_path):
    path = tmp_path / "a.jsonl"
    files.write_lines(path, [{"x": 1.5, "y": float("nan")}, {"z": ["ü", math.inf]}])
    whole = path.read_text()
    path.write_text(whole + '{"x": 2}')  # no newline: whether it is whole cannot be known
    assert files.read_lines(path) == [{"x": 1.5, "y": None}, {"z": ["ü", None]}]
    for bad in ("{", "[1]"):
        path.write_text(f"{whole}{bad}\n")
        with pytest.raises(InputError, match="line 3 is not"):
            files.read_lines(path)


def test_what_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"--out x cannot be written .*: choose another --out"),
        files.writable("--out x"),
    ):
        files.write(tmp_path / "file" / "below.csv", "")
