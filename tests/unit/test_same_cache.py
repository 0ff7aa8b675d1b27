"""Whatever interrupts a preparation, the cache that it ends with is that of a straight run."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time

import nibabel
import numpy as np
import pytest

from medssl import cli, prepare, scan
from medssl.data.cache import Cache

FORK = multiprocessing.get_context("fork")
KILLS = 10


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    root = tmp_path_factory.mktemp("same")
    (root / "in").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        values = rng.integers(0, 900, (40, 44, 30 + number)).astype(np.int16)
        label = np.zeros(values.shape, np.uint8)
        label[10:20, 12:30, 5:9] = 1
        for folder, array in (("in", values), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 2, 1])), root / folder / f"c{number}.nii.gz")
    scan(root / "in", root / "m.csv", labels=root / "labels")
    return root / "m.csv"


@pytest.fixture(scope="module")
def straight(manifest):
    prepared(manifest, manifest.with_name("straight"))
    return content(manifest.with_name("straight"))


def prepared(manifest, out) -> Cache:
    return prepare(manifest, out, preset="mr", spacing=(2, 1.5, 1.5))


def content(cache) -> dict[str, bytes]:
    return {file.relative_to(cache).as_posix(): file.read_bytes() for file in cache.rglob("*") if file.is_file()}


def test_killed_ten_times(manifest, straight, tmp_path):
    began = time.perf_counter()
    prepared(manifest, tmp_path / "timed")
    whole = time.perf_counter() - began
    kills = 0
    for number in range(KILLS):
        child = FORK.Process(target=prepared, args=(manifest, tmp_path / "c"))
        child.start()
        child.join(whole * (number + 1) / KILLS / 3)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
    assert kills >= 1
    prepared(manifest, tmp_path / "c")
    left = content(tmp_path / "c")
    assert {name: left[name] for name in left if ".partial." not in name} == straight


@pytest.mark.parametrize("damage", ["flipped", "missing", "cut", "no case"])
def test_damaged_arrays_are_made_anew(manifest, straight, tmp_path, damage):
    cache = prepared(manifest, tmp_path / "c")
    for file in sorted((cache.path / "arrays").iterdir())[::5]:
        whole = bytearray(file.read_bytes())
        if damage == "flipped":
            whole[len(whole) // 2] ^= 16
            file.write_bytes(whole)
        elif damage == "cut":
            file.write_bytes(whole[:-9])
        else:
            file.unlink()
            if damage == "no case":
                (cache.path / "cases" / f"{file.name.split('.')[0]}.json").unlink()
    prepared(manifest, tmp_path / "c")
    assert content(tmp_path / "c") == straight


def test_two_at_a_time(manifest, straight, tmp_path):
    both = [FORK.Process(target=prepared, args=(manifest, tmp_path / "c")) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join()
    assert [child.exitcode for child in both] == [0, 0]
    assert content(tmp_path / "c") == straight


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(manifest, straight, tmp_path, capfd):
    child = FORK.Process(target=_with_little_room, args=(manifest, tmp_path / "c"))
    child.start()
    child.join()
    said = capfd.readouterr().err.strip()
    assert child.exitcode == 2, said
    assert len(said.splitlines()) == 1
    assert "cannot be written" in said
    shutil.rmtree(tmp_path / "c" / "cases", ignore_errors=True)
    prepared(manifest, tmp_path / "c")
    assert content(tmp_path / "c") == straight


def _with_little_room(manifest, out) -> None:
    """No file may be larger than 20 kB, as where a disk is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    words = ["prepare", str(manifest), "--out", str(out), "--preset", "mr", "--spacing", "2,1.5,1.5"]
    sys.argv = ["medssl", *words]
    try:
        cli.main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
