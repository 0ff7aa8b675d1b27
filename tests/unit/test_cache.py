from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medssl.data.arrays import write_array
from medssl.data.cache import FORMAT, Cache, Case, write_case, write_json
from medssl.data.phantom.cases import phantom_cache
from medssl.types import Box, InputError, Window

WHOLE = Window((0, 0, 0), (40, 70, 30))


def case(name: str = "ct-a", **changes: object) -> Case:
    values = {
        "id": name,
        "shape": (40, 70, 30),
        "spacing": (2.0, 1.0, 1.0),
        "channels": 2,
        "modality": "CT",
        "preset": "ct",
        "patient": "p",
        "split": "train",
        "classes": ("a", "b"),
        "has_label": True,
        "intensity": ((-1000.0, 1000.0), (0.0, 1.0)),
        "foreground": WHOLE,
        "boxes": (Box("a", (0.0, 1.5, 2.0), (3.0, 4.0, 5.0)),),
        "stem": "salt-0123",
        "table": {"sex": "F"},
    }
    return Case(**{**values, **changes})


def head(**changes: object) -> dict:
    values = {"format": FORMAT, "preprocessing": {"preset": "ct"}, "manifest": "m", "salt": "s", "complete": True}
    return {**values, "cases": 1, "rejected": {}, "left_out": {}, "notices": [], **changes}


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(-1000, 3000, (2, 40, 70, 30)).astype(np.int16), rng.integers(0, 3, (1, 40, 70, 30), np.uint8)


@pytest.fixture
def folder(tmp_path, arrays):
    write_case(tmp_path, case(), *arrays, {"crop": [1, 2]})
    write_json(tmp_path / "cache.json", head())
    return tmp_path


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return phantom_cache(tmp_path_factory.mktemp("phantoms") / "cache", 3, (32, 32, 32), 0)


def test_what_is_written_is_read_back(folder, arrays):
    cache = Cache(folder)
    assert cache.cases == {"ct-a": case()}
    assert cache.ids == ["ct-a"]
    assert cache.patients == {"p"}
    assert cache.geometry("ct-a") == {"crop": [1, 2]}
    for got, wanted in zip((cache.image("ct-a"), cache.label("ct-a")), arrays, strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got[:, 3:40, 60:, 7:9], wanted[:, 3:40, 60:, 7:9])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
@pytest.mark.parametrize("shape", [(1, 65, 3, 64), (3, 513, 20), (1, 1, 1, 1)])
def test_every_type_and_odd_shape_is_kept(tmp_path, dtype, shape):
    array = (100 * np.random.default_rng(1).random(shape)).astype(dtype)
    write_array(tmp_path / "arrays" / "x.b2nd", array)
    write_case(tmp_path, case(shape=shape[1:], channels=shape[0], has_label=False), array, None, {})
    write_json(tmp_path / "cache.json", head())
    got = Cache(tmp_path).image("ct-a")[...]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)


def test_hash_follows_content_and_settings_alone(tmp_path, arrays):
    image, label = arrays

    def written(name: str, image: np.ndarray, **changes: object) -> str:
        write_case(tmp_path / name, case(), image, label, {})
        write_json(tmp_path / name / "cache.json", head(**changes))
        return Cache(tmp_path / name).hash

    changed = image.copy()
    changed[0, 5, 5, 5] += 1
    same = written("a", image)
    assert same == written("b", image, salt="other")
    assert same != written("c", changed)
    assert same != written("d", image, preprocessing={"preset": "mr"})


def test_nothing_partial_stays_behind(folder):
    assert not [name for _, _, files in os.walk(folder) for name in files if "partial" in name]


def test_a_missing_cache_case_or_label_is_one_sentence(folder, tmp_path, arrays):
    with pytest.raises(InputError, match="is not a cache"):
        Cache(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no case ct-b: its 1 cases"):
        Cache(folder).image("ct-b")
    write_case(folder, case(has_label=False), arrays[0], None, {})
    with pytest.raises(InputError, match="has no label"):
        Cache(folder).label("ct-a")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"complete": False}, "was interrupted"),
        ({"cases": 2}, "has 1 cases but was written with 2"),
        ({"format": 1}, "has format 1, this medssl reads format 2"),
    ],
)
def test_a_stale_cache_is_refused(folder, changes, message):
    write_json(folder / "cache.json", head(**changes))
    with pytest.raises(InputError, match=message):
        Cache(folder)


@pytest.mark.parametrize("name", ["cache.json", "cases/ct-a.json"])
def test_a_damaged_json_is_refused(folder, name):
    (folder / name).write_text((folder / name).read_text()[:20])
    with pytest.raises(InputError, match="is damaged"):
        Cache(folder)


def test_a_damaged_array_is_refused(folder, arrays):
    file = folder / "arrays" / "ct-a.b2nd"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"is damaged \(its checksum differs\): run the same"):
        Cache(folder).image("ct-a")
    file.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        Cache(folder).image("ct-a")


def test_memory_does_not_grow_with_reads(phantoms):
    image = phantoms.ids[0]

    def read(times: int) -> int:
        for place in range(times):
            phantoms.image(image)[:, place % 8 : place % 8 + 16, :16, :16]
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = read(200)
    assert read(2000) - before < 2000  # kB


def _sum(job: tuple[Cache, str]) -> int:
    return int(job[0].image(job[1])[...].astype(np.int64).sum())


def test_forked_workers_and_threads_read_the_same(phantoms):
    jobs = [(phantoms, name) for name in phantoms.ids] * 4
    wanted = [_sum(job) for job in jobs]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_sum, jobs) == wanted
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_sum, jobs)) == wanted
    assert _sum((pickle.loads(pickle.dumps(phantoms)), phantoms.ids[0])) == wanted[0]


def test_the_cache_shows_no_path_and_no_name(phantoms):
    for file in phantoms.path.rglob("*.json"):
        text = file.read_text()
        assert str(phantoms.path) not in text
        assert "case_0" not in text
        json.loads(text)


def test_the_data_room_needs_no_torch():
    code = "import sys, medssl.data.phantom.cases, medssl.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
