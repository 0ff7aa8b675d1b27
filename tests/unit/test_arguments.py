"""Arguments of the spatial transforms that mean nothing are refused, and no map that is none reaches the loops."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.crop.transforms import RandResizedCropd
from medssl.transforms.resampling.reach import box
from medssl.transforms.resampling.warp import Warp, compose, cut, warp
from medssl.transforms.spatial import RandAffineWarpd, RandElasticWarpd
from medssl.types import InputError, Window

NAN = float("nan")


@pytest.mark.parametrize(
    "given",
    [
        {"fill": "zeros"},
        {"fill": "mirror"},
        {"fill": NAN},
        {"fill": None},
        {"fill": (0, 1)},
        {"zoom": 1.5},
        {"zoom": NAN},
        {"flip": 7},
        {"flip": (0.5, -1)},
        {"flip": "x"},
        {"rotate": -3},
        {"rotate": (1, 2)},
        {"elastic": -3},
        {"elastic": float("inf")},
        {"size": (0, 4)},
        {"size": (2.5, 4)},
        {"size": 8},
        {"spacing": (1, 0)},
        {"spacing": (1,)},
        {"spacing": (1, NAN)},
        {"spacing": (1, -1)},
        {"mode": ("linear", "nearest")},
    ],
)
def test_arguments_out_of_range_are_refused_when_given(given: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(given))} is .* give "):
        RandElasticWarpd("x", **given)


@pytest.mark.parametrize("make", [RandAffineWarpd, RandResizedCropd])
def test_a_spacing_or_size_of_other_length_is_refused(make) -> None:
    x = np.ones((1, 8, 8), np.float32)
    for given in ({"spacing": (1, 1, 1), "size": (4, 4)}, {"size": (4, 4, 4)}):
        with pytest.raises(InputError, match=f"{next(iter(given))} is .*give 2"):
            make("x", **given)({"x": x})
    with pytest.raises(InputError, match="spacing is"):
        make("x", size=(4, 4)).draw(np.random.default_rng(0), x.shape, (1.0, 0.0))


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [(np.uint8, -1), (np.uint8, -1000), (np.uint8, 300), (np.uint8, 0.5), (np.bool_, 2), (np.float16, 1e6)],
)
def test_a_fill_that_labels_cannot_hold_is_refused(dtype: type, fill: float) -> None:
    label = np.ones((1, 8, 8), dtype)
    with pytest.raises(InputError, match=r"fill of x is .* cannot hold"):
        RandAffineWarpd("x", mode="nearest", fill=fill)({"x": label})
    with pytest.raises(InputError, match="fill is"):
        warp(label, compose(Window((0, 0), (8, 8)), (8, 8), (1.0, 1.0)), fill=NAN)


def test_each_key_may_have_its_own_fill() -> None:
    data = {"image": np.ones((1, 9, 9), np.float32), "label": np.ones((1, 9, 9), np.uint8)}
    apart = RandAffineWarpd(
        ["image", "label"], rotate=90, zoom=0.5, spacing=(1, 1), mode=["linear", "nearest"], fill=[-1000, 0]
    )
    moved = apart.set_random_state(1)(data)
    assert set(np.unique(moved["image"])) == {-1000, 1}
    np.testing.assert_array_equal(moved["image"] == -1000, moved["label"] == 0)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf, 1e30])
def test_no_map_that_is_not_finite_reaches_the_loops(order: int, bad: float) -> None:
    x = np.ones((1, 8, 8), np.float32)
    control = np.zeros((2, 2, 2), np.float32)
    control[0, 1, 1] = bad
    maps = [
        Warp(np.diag([1.0, bad]), np.zeros(2), None, (4, 4)),
        Warp(np.eye(2), np.array([bad, 0.0]), None, (4, 4)),
        Warp(np.eye(2), np.zeros(2), control, (4, 4)),
    ]
    for w in maps:
        for use in (
            lambda w: warp(x, w, order=order, average=True),
            lambda w: cut(x, w),
            lambda w: box(w.matrix, w.offset, w.control, w.size, (8, 8), (0, 0)),
        ):
            with pytest.raises(InputError, match="the map reads voxels"):
                use(w)
