from __future__ import annotations

import json
import os
from typing import ClassVar

import pytest
import yaml

from medssl.recipe import Options
from medssl.runtime import run_directory
from medssl.types import InputError


def used(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("seed: 0\n")
    (folder / "metrics.jsonl").write_text("{}\n")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_out_is_required():
    with pytest.raises(InputError, match="out=runs/first"):
        run_directory.path(Options())


def test_a_new_and_an_empty_folder_are_taken(tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        assert run_directory.claim(Options(out=str(folder))).is_dir()


def test_a_folder_in_use_is_refused_and_kept(tmp_path):
    folder = used(tmp_path / "run")
    with pytest.raises(InputError, match="resume=true continues that run, overwrite=true replaces it"):
        run_directory.claim(Options(out=str(folder)))
    assert (folder / "metrics.jsonl").exists()


def test_resume_keeps_everything_and_overwrite_removes_only_what_runs_write(tmp_path):
    folder = used(tmp_path / "run")
    run_directory.claim(Options(out=str(folder), resume=True))
    assert (folder / "metrics.jsonl").exists()
    run_directory.claim(Options(out=str(folder), overwrite=True))
    run_directory.settle(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_resume_and_overwrite_contradict(tmp_path):
    with pytest.raises(InputError, match="contradict"):
        run_directory.claim(Options(out=str(tmp_path), resume=True, overwrite=True))


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/medssl"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        run_directory.claim(Options(out=os.path.join(tmp_path, where)))


class Cache:
    hash, cases, patients, left_out = "abc", dict.fromkeys("pqr"), {"x", "y"}, {}
    preprocessing: ClassVar = {"preset": "xray", "spatial_dims": 2}


def test_the_run_says_what_it_was_made_of(tmp_path):
    recipe = {"seed": 1, "views": {"size": [8, 8]}, "data": {"phantom": None, "cache": "films"}}
    run_directory.describe(tmp_path, recipe, Cache(), {"train": ["p", "q"]})
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == recipe
    lock = json.loads((tmp_path / "manifest.lock").read_text())
    assert {key: lock[key] for key in ("cache", "cases", "patients", "subsets", "radiographs")} == {
        "cache": "abc",
        "cases": 3,
        "patients": 2,
        "subsets": {"train": 2},
        "radiographs": True,
    }


def test_differences_are_named_by_key_with_both_values():
    before = {"train": {"steps": 20, "batch": 4}, "method": {"kind": "adco"}, "seed": 0}
    now = {"train": {"steps": 40, "batch": 4}, "method": None, "seed": 0}
    assert run_directory.differences(before, now) == [
        "train.steps is 40, was 20",
        "method is None, was {'kind': 'adco'}",
    ]
    assert run_directory.differences(before, before) == []


def _old_run(out):
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints/last.pt").write_text("old")
    (out / "recipe.yaml").write_text("old")
    (out / "notes.txt").write_text("mine")


def test_what_is_replaced_comes_back_if_the_new_run_cannot_begin(tmp_path):
    _old_run(tmp_path)
    options = Options(out=str(tmp_path), overwrite=True)

    def start():
        with run_directory.replacing(options):
            run_directory.claim(options)
            assert not (tmp_path / "recipe.yaml").exists()
            (tmp_path / "train.log").write_text("new")
            raise InputError("no such weights")

    with pytest.raises(InputError, match="no such weights"):
        start()
    assert (tmp_path / "checkpoints/last.pt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "notes.txt", "recipe.yaml"]


@pytest.mark.parametrize("there", [True, False])
def test_a_run_that_cannot_begin_leaves_nothing_where_nothing_was(tmp_path, there):
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    options = Options(out=str(folder))

    def start(*, described):
        with run_directory.replacing(options):
            run_directory.claim(options)
            (folder / "data" / "cache").mkdir(parents=True)
            if described:
                (folder / "recipe.yaml").touch()
            raise InputError("no such weights")

    with pytest.raises(InputError, match="no such weights"):
        start(described=False)
    assert folder.is_dir() == there
    assert not list(folder.glob("*"))
    for _ in range(2):  # what has begun stays, and is not what a refused start of another run takes away
        with pytest.raises(InputError):
            start(described=True)
        assert (folder / "data" / "cache").is_dir()


def test_what_is_replaced_goes_once_the_new_run_has_begun(tmp_path):
    _old_run(tmp_path)
    options = Options(out=str(tmp_path), overwrite=True)
    with run_directory.replacing(options):
        run_directory.claim(options)
        run_directory.settle(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_overwrite_leaves_folders_that_no_run_wrote(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.txt").write_text("mine")
    with pytest.raises(InputError, match="no run wrote"):
        run_directory.claim(Options(out=str(tmp_path), overwrite=True))
    assert (tmp_path / "data/x.txt").read_text() == "mine"
