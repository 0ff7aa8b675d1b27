"""A file is whole or not there."""

from __future__ import annotations

import pytest

from medssl.data import atomic


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    atomic.write(path, "old")

    def half():
        with atomic.writing(path) as partial:
            partial.write_text("half of the n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_the_old_file_is_seen_and_the_name_keeps_its_suffix(tmp_path):
    path = tmp_path / "below" / "mask.nii.gz"
    atomic.write(path, "old")
    with atomic.writing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.name.endswith(".nii.gz")
        assert partial.parent == path.parent
    assert path.read_text() == "new"


def test_what_a_kill_left_behind_is_overwritten(tmp_path):
    path = tmp_path / "a.csv"
    with atomic.writing(path) as partial:
        partial.write_text("first")
    partial.write_text("left by a kill, longer than what follows")
    atomic.write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
