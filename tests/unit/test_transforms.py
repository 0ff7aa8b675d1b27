"""What all transforms promise: a name to import, a draw that survives a log, and keys on one grid."""

from __future__ import annotations

import doctest
import json
import sys

import numpy as np
import pytest
import torch

from medssl import crop, transforms
from medssl.build.kinds import kinds
from medssl.types import InputError

NAMES = [*transforms.__all__, *crop.__all__]
CROPS = {"size": (12, 12)}
SETTINGS = {
    "RandElasticWarpd": {"rotate": 10, "zoom": 0.1, "flip": 0.5, "turn": True, "size": (12, 14)},
    "RandAffineWarpd": {"turn": True, "flip": 0.5},
    "RandWindowJitterd": {"window": (0, 1)},
    "RandMaskBlocksd": {"block": 4},
    "RandBlurNoised": {"noise": 1.0},
    "RandResizedCropd": CROPS,
    "ContrastiveCropd": {**CROPS, "box_source": {0: (0.2, 0.2, 0.8, 0.8)}},
}


def made(name: str, keys: object = "x"):
    room = crop if name.endswith("Cropd") else transforms
    return getattr(room, name)(keys, **SETTINGS.get(name, {})).set_random_state(1)


def tile(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((3, *shape), dtype=np.float32)


def test_every_transform_can_be_imported_from_its_package() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 19
    assert {"RandGammad", "RandAffineWarpd", "RandCutoutd", "ContrastiveCropd"} <= set(NAMES)
    assert all(hasattr(room, name) for room in (transforms, crop) for name in room.__all__)
    assert kinds("crop") == ["contrastive", "random"]


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_replays_from_a_log_byte_for_byte(name) -> None:
    transform, data = made(name), {"x": tile(30, 34), "index": 0}
    changed = transform(data)["x"]
    again = transform.replay(data, json.loads(json.dumps(transform.drawn)))["x"]
    assert changed.tobytes() == again.tobytes()
    assert changed.shape != data["x"].shape or not np.array_equal(changed, data["x"])


def test_a_volume_replays_from_a_log_too() -> None:
    for transform in (
        transforms.RandElasticWarpd("x"),
        transforms.RandBiasFieldd("x"),
        crop.RandResizedCropd("x", (8, 8, 8)),
    ):
        data = {"x": tile(12, 14, 16)}
        changed = transform.set_random_state(0)(data)["x"]
        assert changed.tobytes() == transform.replay(data, json.loads(json.dumps(transform.drawn)))["x"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_keys_on_different_grids_are_refused_whether_or_not_the_coin_falls(name) -> None:
    transform = made(name, ["x", "y"])
    for prob in (1.0, 0.0):
        transform.prob = prob
        with pytest.raises(InputError, match=r"the keys have shapes .* resample them to one grid first"):
            transform({"x": tile(30, 34), "y": tile(30, 20), "index": 0})


@pytest.mark.parametrize("name", transforms.__all__)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_half_floats_that_are_no_numbers_are_refused(name, value) -> None:
    """1e38 is infinite as float16, so that a comparison in float16 would let infinity pass."""
    image = tile(32, 32).astype(np.float16)
    image[0, 5, 5] = value
    with pytest.raises(InputError, match=r"NaN|infinite"):
        made(name)({"x": image})


@pytest.mark.parametrize("name", transforms.__all__)
@pytest.mark.parametrize("image", [[[[0.5]]], None, "scan.nii", torch.zeros(3, 32, 32, dtype=torch.bfloat16)])
def test_what_is_no_image_is_said(name, image) -> None:
    with pytest.raises(InputError, match="give"):
        made(name)({"x": image})


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_every_transform_gives_what_it_says(name) -> None:
    transform = getattr(crop if name.endswith("Cropd") else transforms, name)
    module = sys.modules[transform.__module__]
    (example,) = doctest.DocTestFinder(recurse=False).find(transform, name, module)
    assert example.examples, "no example"
    assert doctest.DocTestRunner().run(example).failed == 0
