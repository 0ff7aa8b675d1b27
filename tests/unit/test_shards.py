"""Preparation in parts, and split files of file names: the same cache, and nothing in it that a search could find."""

from __future__ import annotations

import hashlib
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from medssl import InputError, prepare, scan
from medssl.recipe.frame import Data
from medssl.runtime.cases import training_ids

NAMES = [f"{4711000 + number}" for number in range(7)]  # record numbers


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Seven pictures, one of them a colour picture, which the preset refuses."""
    root = tmp_path_factory.mktemp("shards")
    (root / "in").mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        shape = (30, 20 + number, 3) if number == 4 else (30, 20 + number)
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(root / "in" / f"{name}.png")
    found = scan(root / "in", root / "m.csv")
    for row in found.rows:
        if row.source == f"{NAMES[5]}.png":
            (root / "in" / row.image).unlink()  # lost since the scan
    return found.manifest


def content(cache):
    return {file.relative_to(cache).as_posix(): file.read_bytes() for file in cache.rglob("*") if file.is_file()}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_in_any_order_make_the_cache_of_one_run(manifest, tmp_path, order):
    prepare(manifest.path, tmp_path / "whole", preset="xray")
    waiting = [prepare(manifest.path, tmp_path / "parts", preset="xray", shard=(i, 3)).waiting for i in order]
    assert waiting[-1] == 0 < min(waiting[:-1])
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    heads = [json.loads(files.pop("cache.json")) for files in (whole, parts)]
    assert heads[0] == heads[1]
    assert whole == parts


def test_a_repeated_part_that_succeeds_takes_its_refusal_back(tmp_path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate("abcd"):
        Image.fromarray(np.arange(600, dtype=np.uint8).reshape(30, 20) + number).save(tmp_path / "in" / f"{name}.png")
    found = scan(tmp_path / "in", tmp_path / "m.csv")
    away = tmp_path / "in" / found.rows[0].image
    away.rename(tmp_path / "away.png")
    assert prepare(found.manifest.path, tmp_path / "c", preset="xray", shard=(1, 2)).waiting
    (tmp_path / "away.png").rename(away)
    prepare(found.manifest.path, tmp_path / "c", preset="xray", shard=(1, 2))
    cache = prepare(found.manifest.path, tmp_path / "c", preset="xray", shard=(2, 2))
    assert (len(cache.ids), cache.rejected, cache.waiting) == (4, {}, 0)


def test_a_folder_of_parts_that_all_failed_is_free_again(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(np.arange(600, dtype=np.uint8).reshape(30, 20)).save(tmp_path / "in" / f"{name}.png")
    found = scan(tmp_path / "in", tmp_path / "m.csv", modality="DX")
    files = [tmp_path / "in" / row.image for row in found.rows]
    for file in files:
        file.rename(file.with_suffix(".away"))
    assert prepare(found.manifest.path, tmp_path / "c", preset="xray", shard=(1, 2)).waiting
    with pytest.raises(InputError, match="none of 2 images"):
        prepare(found.manifest.path, tmp_path / "c", preset="xray", shard=(2, 2))
    for file in files:
        file.with_suffix(".away").rename(file)
    assert len(prepare(found.manifest.path, tmp_path / "c", preset="xray", spacing=(2, 2)).ids) == 2


@pytest.mark.parametrize("shard", [(0, 3), (4, 3)])
def test_a_part_that_is_none_is_refused(manifest, tmp_path, shard):
    with pytest.raises(InputError, match="give a number from 1 to 3"):
        prepare(manifest.path, tmp_path / "c", preset="xray", shard=shard)


def test_a_split_file_of_names_becomes_one_of_ids(manifest, tmp_path):
    lists = {"few": [NAMES[0], f"{NAMES[2]}.png"], "all": NAMES}
    (tmp_path / "s.json").write_text(json.dumps(lists))
    cache = prepare(manifest.path, tmp_path / "c", preset="xray", splits=tmp_path / "s.json")
    of = {row.source.removesuffix(".png"): row.id for row in manifest.rows}
    found = json.loads((tmp_path / "c/splits.json").read_text())
    assert found["few"] == sorted(of[name] for name in (NAMES[0], NAMES[2]))
    assert sorted(found["all"]) == sorted(cache.ids)
    assert any("images of the split file could not be used" in notice for notice in cache.notices)
    by_id = Data(cache=str(cache.path), splits=str(tmp_path / "c/splits.json"), train="few")
    by_name = Data(cache=str(cache.path), splits=str(tmp_path / "s.json"), train="few")
    assert training_ids(cache, by_id) == found["few"]
    with pytest.raises(InputError, match=r"data\.key=FILE"):
        training_ids(cache, by_name)
    key = str(manifest.path.with_suffix(".key"))
    assert training_ids(cache, by_name.model_copy(update={"key": key})) == found["few"]


def test_no_hash_in_a_cache_can_be_searched_for_record_numbers(manifest, tmp_path):
    prepare(manifest.path, tmp_path / "c", preset="xray")
    text = "".join(file.read_text() for file in (tmp_path / "c").rglob("*.json"))
    words = {""} | set(re.findall(r"[0-9a-f]{8,}", text))
    salts = [word for word in words if len(word) <= 16]
    for name, salt, kind in itertools.product(NAMES[:1], salts, ("md5", "sha1", "sha256", "blake2b")):
        for guess in (salt + name, name + salt, f"{salt}|{name}", f"{name}.png"):
            found = hashlib.new(kind, guess.encode()).hexdigest()
            assert not any(found.startswith(word) for word in words - {""})
    assert not any(name in text for name in NAMES)
