"""`medssl plan`: the stated rules on cases worked out by hand, and recipes that are accepted and start."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch

import medssl
from medssl.data.phantom.cases import phantom_cache
from medssl.planning import fingerprint, memory, rules
from medssl.runtime.known import load
from medssl.types import InputError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    phantom_cache(folder / "ct", 10, (24, 32, 32), 0, "ct")
    phantom_cache(folder / "xray", 40, (96, 128), 0, "xray")
    return folder


def test_the_examples_of_the_rules_hold():
    assert doctest.testmod(rules) == (0, 9)


@pytest.mark.parametrize(
    ("spacings", "shapes", "expected"),
    [
        ([(1, 1, 1), (2, 2, 2), (3, 3, 3)], [(64, 64, 64)] * 3, (2, 2, 2)),  # the median
        ([(s, 0.5, 0.5) for s in range(3, 14)], [(20, 512, 512)] * 11, (4, 0.5, 0.5)),  # coarse: 10th percentile
        ([(s, 0.5, 0.5) for s in range(3, 14)], [(400, 512, 512)] * 11, (8, 0.5, 0.5)),  # coarse, but many slices
    ],
)
def test_the_target_spacing_is_that_of_nnunet(spacings, shapes, expected):
    assert fingerprint.target_spacing(np.array(spacings, float), np.array(shapes)) == expected


def test_the_mean_crop_covers_what_crops_cover_in_the_mean():
    for extent in ((100.0, 100.0), (50.0, 300.0, 300.0), (10.0, 20.0, 400.0)):
        sides = rules.crop_sides(extent)
        assert np.prod(sides) == pytest.approx(rules.MEAN_CROP * np.prod(extent))
        assert all(side <= whole + 1e-9 for side, whole in zip(sides, extent, strict=True))


def test_no_axis_of_a_view_is_finer_than_the_data_but_for_rounding():
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape, spacing = rng.integers(40, 500, 3), rng.uniform(0.5, 6, 3)
        extent = tuple(shape * spacing)
        size = rules.view_size(extent, tuple(spacing), 128, 16)
        for n, side, mm in zip(size, rules.crop_sides(extent), spacing, strict=True):
            assert n % 16 == 0
            assert 16 <= n <= 128 + 16
            assert n <= max(16, side / mm + 8)


def test_stages_of_an_isotropic_view_are_those_of_nnunet():
    made = rules.stages((128, 128, 128), (1, 1, 1))
    assert made.strides == [[1] * 3] + [[2] * 3] * 5
    assert made.kernels == [[3] * 3] * 6


def test_thick_slices_are_halved_and_spanned_later():
    made = rules.stages((16, 256, 256), (6.0, 0.75, 0.75))
    assert made.strides == [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    assert made.kernels == [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]


def test_smaller_views_keep_the_multiple_and_end():
    size, seen = (48, 40, 16), []
    while size is not None:
        seen.append(size)
        size = rules.smaller(size, 8)
    assert seen == [(48, 40, 16), (40, 40, 16), (32, 32, 16), (24, 24, 16), (16, 16, 16)]


def test_what_autograd_keeps_is_counted_as_in_a_real_forward():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1))
    image = torch.rand(2, 1, 8, 8)
    relu = 2 * 4 * 8 * 8 * 4  # kept by the ReLU and by the second convolution, once
    assert memory.kept(net, image) == image.numel() * 4 + relu
    assert memory.kept(net.to("meta"), image.to("meta")) == image.numel() * 4 + relu


def test_a_plan_for_this_machine_is_accepted_and_starts(caches, tmp_path):
    made = medssl.plan(caches / "ct", tmp_path / "recipe.yaml", device="cpu")
    recipe, _ = load("pretrain", str(made.path))
    assert recipe.views["size"] == made.recipe["views"]["size"]
    assert recipe.train.batch == 8, "no more than the nine cases that are not of the test"
    short = {"train.steps": 4, "train.batch": 2, "method.init": "gaussian"}
    run = medssl.pretrain(made.path, short, out=tmp_path / "run")
    assert [record["step"] for record in run.metrics] == [1, 2, 3, 4]


@pytest.mark.parametrize(("cache", "encoder", "little"), [("ct", "resenc", 1.05), ("xray", "auto", 3)])
def test_a_plan_for_another_machine_fits_its_memory(caches, tmp_path, cache, encoder, little):
    if encoder == "resenc":
        pytest.importorskip("dynamic_network_architectures")
    needs = {}
    for gigabytes in (little, 24):
        out = tmp_path / f"{gigabytes}.yaml"
        made = medssl.plan(caches / cache, out, device="cuda", memory=gigabytes, encoder=encoder)
        recipe, _ = load("pretrain", str(out))
        needs[gigabytes] = memory.cost(recipe).of(recipe.train.batch)
        assert needs[gigabytes] <= rules.FREE * gigabytes * memory.GIB
        assert made.recipe["encoder"]["kind"] == ("resenc" if encoder == "resenc" else "resnet")
    assert needs[little] < needs[24]


def test_the_header_says_why_and_names_no_path(caches, tmp_path):
    made = medssl.plan(caches / "xray", tmp_path / "r.yaml", device="cpu")
    head = [line for line in made.path.read_text().splitlines() if line.startswith("#")]
    for word in ("data", "views", "stages", "batch", "steps", "run", "takes", "expect"):
        assert any(line.startswith(f"# {word}: ") for line in head), word
    assert str(caches) not in "\n".join(head)


def test_what_cannot_be_planned_is_refused_in_a_sentence(caches, tmp_path):
    taken = tmp_path / "taken.yaml"
    taken.write_text("mine")
    for given, words in [
        ({"out": taken}, "exists already"),
        ({"base": "dira_adco_ccrop_3d"}, "dimensions"),
        ({"encoder": "vit"}, "--encoder"),
        ({"device": "cuda", "memory": 0.6}, "--memory"),
    ]:
        with pytest.raises(InputError, match=words):
            medssl.plan(caches / "xray", **{"out": tmp_path / "new.yaml", "device": "cpu", **given})
    assert taken.read_text() == "mine"
    assert not Path(tmp_path / "new.yaml").exists()
