"""Elastic displacements: what was asked is what is done, on thin volumes too, and nothing folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from medssl.transforms.resampling.warp import Warp, WarpSettings, draw_warp
from medssl.transforms.spatial import RandElasticWarpd
from medssl.types import Window

SHAPES = [
    ((1, 128, 128), (1.0, 1.0, 1.0)),
    ((1, 128, 128), (60.0, 1.0, 1.0)),
    ((6, 96, 96), (2.0, 1.0, 1.0)),
    ((40, 10, 90), (1.0, 1.0, 1.0)),
    ((24, 40, 36), (3.0, 1.0, 1.2)),
    ((1, 128), (1.0, 1.0)),
    ((20, 110), (1.0, 1.0)),
    ((64, 64, 64), (1.0, 1.0, 1.0)),
]


def drawn(shape: tuple[int, ...], spacing: tuple[float, ...], elastic: float, seed: int, turn: bool = False):
    """An elastic map of the whole image, and a quarter turn if asked for, at 48 points an axis; and what made it."""
    n = len(shape)
    settings = WarpSettings((0.0,) * n, elastic=elastic, turn=turn)
    return draw_warp(np.random.default_rng(seed), Window((0,) * n, shape), (48,) * n, spacing, settings)


def displacement(w: Warp, spacing: tuple[float, ...]) -> np.ndarray:
    """Displacement (n,*size) in mm."""
    mode = "bilinear" if len(w.size) == 2 else "trilinear"
    dense = interpolate(torch.from_numpy(w.control)[None], w.size, mode=mode, align_corners=True)[0].numpy()
    return dense * np.array(spacing).reshape(-1, *[1] * len(spacing))


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_drawn_tells_the_mean_displacement_that_is_done(shape, spacing) -> None:
    for seed, asked in enumerate((0.5, 2.0, 50.0)):
        w, said = drawn(shape, spacing, asked, seed)
        done = np.sqrt((displacement(w, spacing) ** 2).sum(0)).mean()
        assert done == pytest.approx(said["elastic_mm"], rel=0.06)
        assert said["elastic_mm"] <= asked


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_three_percent_of_the_longest_side_can_be_done_however_thin_the_volume(shape, spacing) -> None:
    longest = max(n * mm for n, mm in zip(shape, spacing, strict=True) if n > 1)
    reached = [drawn(shape, spacing, 1000.0, seed)[1]["elastic_mm"] / longest for seed in range(20)]
    assert min(reached) > 0.02
    assert np.median(reached) > 0.029


def test_a_thin_volume_is_displaced_in_its_plane_as_far_as_asked() -> None:
    transform, shape = RandElasticWarpd("x", elastic=2.0), (1, 1, 128, 128)
    lengths = []
    for seed in range(40):
        params = transform.draw(np.random.default_rng(seed), shape)
        control = transform.map(shape, params).control
        assert not control[0].any()  # there is nothing above or below to show
        np.testing.assert_array_equal(control[:, 0], control[:, 1])
        lengths.append(params["elastic_mm"])
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.2)
    assert max(lengths) > 1.8


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_the_map_never_folds_not_even_where_a_turn_exchanges_long_and_short_sides(shape, spacing) -> None:
    for seed in range(6):
        w, _ = drawn(shape, spacing, 1000.0, seed, turn=True)
        plain = w.matrix * np.array(spacing)[:, None]
        bent = np.stack([np.stack(np.gradient(part)) for part in displacement(w, spacing)])  # mm an output voxel
        ratio = np.linalg.det(np.moveaxis(bent, (0, 1), (-2, -1)) + plain) / np.linalg.det(plain)
        assert ratio.min() > 0.05
        steepest = np.linalg.norm(np.moveaxis(bent, (0, 1), (-2, -1)) @ np.linalg.inv(plain), axis=(-2, -1)).max()
        assert steepest < 0.7  # it is measured at one corner of each cell of the grid


def test_one_voxel_has_nothing_to_displace() -> None:
    w, said = drawn((1, 1, 1), (1.0, 1.0, 1.0), 4.0, 0)
    assert w.control is None
    assert said["elastic_mm"] == 0
