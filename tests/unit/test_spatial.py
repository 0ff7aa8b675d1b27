"""The MONAI side: keys, containers, affines, random state, replay and refusals, for every dictionary transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose

from medssl.crop.transforms import RandResizedCropd
from medssl.data.phantom.cases import ct_case, histology
from medssl.transforms import (
    RandBezierIntensityd,
    RandBiasFieldd,
    RandBlurNoised,
    RandCutoutd,
    RandGammad,
    RandHistogramShiftd,
    RandInpaintd,
    RandLocalShuffled,
    RandMaskBlocksd,
    RandOutpaintd,
    RandPatchSwapd,
    RandStainJitterd,
    RandStainMatchd,
    RandWindowJitterd,
)
from medssl.transforms.base import RandTransform
from medssl.transforms.spatial import RandAffineWarpd, RandElasticWarpd
from medssl.types import InputError

SPATIAL = [RandAffineWarpd, RandElasticWarpd]
STAIN = [RandStainJitterd, RandStainMatchd]
OTHERS = [
    RandGammad,
    RandBezierIntensityd,
    RandHistogramShiftd,
    RandWindowJitterd,
    RandBiasFieldd,
    RandBlurNoised,
    RandCutoutd,
    RandInpaintd,
    RandOutpaintd,
    RandPatchSwapd,
    RandLocalShuffled,
    RandMaskBlocksd,
]
EVERY = SPATIAL + STAIN + OTHERS
ANY_VALUES = [RandWindowJitterd, RandCutoutd, RandPatchSwapd, RandLocalShuffled, RandMaskBlocksd]


def image(make: type[RandTransform], dims: int = 3) -> np.ndarray:
    if make in STAIN or dims == 2:
        tile = np.moveaxis(histology(np.random.default_rng(0), (48, 44))[0], -1, 0).astype(np.float32)
        return tile if make is RandWindowJitterd else tile / 255
    volume = ct_case(np.random.default_rng(0), (16, 24, 20))[0][None].astype(np.float32)
    if make is RandWindowJitterd:
        return volume
    return np.clip((volume + 1000) / 2000, 0, 1)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("dims", [2, 3])
def test_containers_random_state_shared_draw_and_replay(make, dims) -> None:
    x = image(make, dims)
    affine = torch.diag(torch.tensor([2.0, 1.5, 1.0, 1.0], dtype=torch.float64))
    data = {"a": x, "b": torch.from_numpy(x), "c": MetaTensor(x, affine=affine), "other": "kept"}
    before = x.copy()
    chain = Compose([make(keys=["a", "b", "c", "missing"], allow_missing_keys=True)])
    first = chain.set_random_state(3)(data)
    again = chain.set_random_state(3)(data)
    other = chain.set_random_state(4)(data)
    assert isinstance(first["a"], np.ndarray)
    assert type(first["b"]) is torch.Tensor
    assert isinstance(first["c"], MetaTensor)
    assert first["other"] == "kept"
    for key in "abc":
        np.testing.assert_array_equal(np.asarray(first[key]), np.asarray(first["a"]))
        np.testing.assert_array_equal(np.asarray(first[key]), np.asarray(again[key]))
    assert not np.array_equal(first["a"], other["a"])
    np.testing.assert_array_equal(x, before)
    transform = chain.transforms[0]
    np.testing.assert_array_equal(transform.replay({"a": x}, transform.drawn)["a"], other["a"])
    if make not in SPATIAL:
        np.testing.assert_array_equal(first["c"].affine, affine)


@pytest.mark.parametrize("make", EVERY)
def test_bad_images_are_refused_in_one_sentence(make) -> None:
    x = image(make)
    transform = make(keys="x")
    with pytest.raises(KeyError):
        transform({"y": x})
    for bad, said in [
        (np.where(np.arange(x.size).reshape(x.shape) == 5, np.nan, x), "NaN"),
        (np.zeros((2, 1, 4, 4, 4), np.float32), "channel first"),
        (np.zeros((4, 4), np.float32), "channel first"),
        (np.zeros((1, 0, 4), np.float32), "channel first"),
    ]:
        with pytest.raises(InputError, match=said):
            transform({"x": bad})
    if make not in [*SPATIAL, *ANY_VALUES]:
        with pytest.raises(InputError, match=r"scale it to 0\.\.1"):
            transform({"x": x * 2000 - 1000})


def test_the_affine_follows_the_voxels() -> None:
    x = image(RandAffineWarpd)
    affine = torch.tensor([[0, 0, 1.5, 7], [0, -1.2, 0, 3], [3.0, 0, 0, -9], [0, 0, 0, 1]], dtype=torch.float64)
    data = {"x": MetaTensor(x, affine=affine)}
    transform = RandAffineWarpd("x", flip=1.0, rotate=20, zoom=0.2, size=(12, 18, 22))
    transform.set_random_state(0)
    moved = transform(data)["x"]
    w = transform.map(x.shape, transform.drawn)
    np.testing.assert_allclose(transform.drawn["spacing"], (3.0, 1.2, 1.5), atol=1e-6)
    voxel = np.array([3.0, 5.0, 8.0])
    world = moved.affine.numpy() @ [*voxel, 1]
    source = affine.numpy() @ [*(w.matrix @ voxel + w.offset), 1]
    np.testing.assert_allclose(world, source, atol=1e-5)


def test_image_and_label_share_the_map_and_labels_keep_their_values() -> None:
    volume, label = ct_case(np.random.default_rng(1), (16, 32, 32))
    label = (volume > 100).astype(np.int16) * 5 + label
    data = {"image": label[None].astype(np.float32), "label": label[None]}
    both = RandElasticWarpd(["image", "label"], elastic=2.0, rotate=10, flip=0.5, mode=["linear", "nearest"])
    both.set_random_state(0)
    moved = both(data)
    assert moved["label"].dtype == np.int16
    assert moved["image"].dtype == np.float32
    assert set(np.unique(moved["label"])) <= set(np.unique(label))
    whole = np.isin(moved["image"], np.unique(label)) & (moved["image"] == np.round(moved["image"]))
    flat = whole & (np.abs(moved["image"] - moved["label"]) < 0.5)
    assert (flat == whole).mean() > 0.99


def test_without_the_coin_an_image_is_only_resized() -> None:
    x = image(RandAffineWarpd)
    assert RandAffineWarpd("x", prob=0.0)({"x": x})["x"] is x
    resized = RandElasticWarpd("x", prob=0.0, size=(8, 12, 10))({"x": x})["x"]
    np.testing.assert_allclose(resized, x.reshape(1, 8, 2, 12, 2, 10, 2).mean((2, 4, 6)), atol=1e-6)


def test_elastic_is_in_mm_of_the_images_own_spacing() -> None:
    shape = (1, 40, 40, 40)
    for spacing in ((1.0, 1.0, 1.0), (4.0, 0.5, 0.5)):
        transform = RandElasticWarpd("x", elastic=0.5, spacing=spacing)
        lengths = []
        for seed in range(40):
            w = transform.map(shape, transform.draw(np.random.default_rng(seed), shape))
            mm = w.control * np.array(spacing).reshape(3, 1, 1, 1)
            lengths.append(np.sqrt((mm**2).sum(0)).mean())
        assert np.mean(lengths) == pytest.approx(0.25, abs=0.06)
        assert max(lengths) < 0.58


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: RandAffineWarpd(["x", "y"])({"x": x, "y": x[:, :-1]}), "resample them to one grid"),
        (lambda x: RandAffineWarpd("x", size=(4, 4))({"x": x}), "give 3 numbers"),
        (lambda x: RandAffineWarpd("x", flip=(0.5, 0.5))({"x": x}), "give 3 and 3"),
        (lambda x: RandAffineWarpd("x", mode="cubic"), "linear or nearest"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, said) -> None:
    with pytest.raises(InputError, match=said):
        make(image(RandAffineWarpd))


def test_every_key_is_checked_even_where_the_coin_says_no() -> None:
    x = image(RandAffineWarpd)
    bad = np.where(np.arange(x.size).reshape(x.shape) == 5, np.nan, x)
    for prob in (0.0, 1.0):
        for mode in ("linear", "nearest"):
            with pytest.raises(InputError, match="y: the image holds values that are NaN"):
                RandAffineWarpd(["x", "y"], prob=prob, mode=mode)({"x": x, "y": bad})
    with pytest.raises(InputError, match="infinite or beyond 1e"):
        RandAffineWarpd("x")({"x": np.where(np.isnan(bad), np.inf, bad)})
    assert np.isfinite(RandAffineWarpd("x")({"x": np.full((1, 8, 8), 3e20, np.float32)})["x"]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, MetaTensor])
def test_the_coin_does_not_decide_the_type(dtype, make) -> None:
    x = make(np.ones((1, 9, 9), dtype))
    for prob in (0.0, 1.0):
        both = RandAffineWarpd(["x", "y"], prob=prob, mode=["linear", "nearest"])({"x": x, "y": x})
        assert type(both["x"]) is type(x)
        assert np.asarray(both["x"]).dtype == np.float32
        assert np.asarray(both["y"]).dtype == dtype


@pytest.mark.parametrize("make", EVERY)
def test_randomize_of_a_pipeline_draws_and_without_data_does_nothing(make) -> None:
    data = {"image": image(make), "other": 3}
    chain = Compose([make()]).set_random_state(0)
    chain.randomize(data)
    drawn = chain.transforms[0].drawn
    chain.randomize()
    assert chain.transforms[0].drawn is None
    moved = chain.set_random_state(0)(data)["image"]
    np.testing.assert_array_equal(chain.transforms[0].replay(data, drawn)["image"], moved)


def test_what_never_moves_an_image_is_inverted_as_it_is() -> None:
    pipeline = Compose([RandElasticWarpd("x", prob=0, rotate=20), RandAffineWarpd("x", prob=0)])
    x = np.random.default_rng(0).random((1, 8, 9), dtype=np.float32)
    np.testing.assert_array_equal(pipeline.inverse(pipeline({"x": x}))["x"], x)
    with pytest.raises(InputError, match="cannot be inverted"):
        RandAffineWarpd("x", prob=0, size=(4, 4)).inverse({"x": x})


def test_an_inverse_is_refused_for_what_moved_and_not_asked_of_the_others() -> None:
    x = MetaTensor(image(RandAffineWarpd))
    moved = Compose([RandAffineWarpd("x"), RandGammad("x")])
    with pytest.raises(RuntimeError) as refused:
        moved.inverse(moved({"x": x}))
    assert isinstance(refused.value.__cause__, InputError)
    assert "cannot be inverted" in str(refused.value.__cause__)


@pytest.mark.parametrize("make", [RandAffineWarpd, RandElasticWarpd, RandResizedCropd])
def test_noise_is_averaged_where_voxels_become_fewer(make) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (1, 128, 128)).astype(np.float32)
    whole = {"scale": (1.0, 1.0)} if make is RandResizedCropd else {"rotate": 0, "zoom": 0}
    # a mean of 4 x 4 has a quarter of the spread; a point at a crossing of lines between 2 x 2 voxels has a half
    for average, low, high in [(True, 0.15, 0.27), (False, 0.4, 1.0)]:
        seen = make("x", size=(32, 32), average=average, **whole).set_random_state(0)({"x": noise})["x"]
        assert low < seen.std() < high
