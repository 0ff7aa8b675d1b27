from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medssl.crop import geometry, random
from medssl.types import InputError

RATIO = (3 / 4, 4 / 3)
HUGE = 10**6  # so large that rounding to voxels does not show


def rng(seed=0):
    return np.random.default_rng(seed)


@given(
    shape=st.lists(st.integers(1, 60), min_size=2, max_size=3),
    millimetres=st.lists(st.floats(0.3, 8), min_size=3, max_size=3),
    scale=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=200)
def test_a_window_is_never_empty_and_never_outside(shape, millimetres, scale, seed):
    policy = random.build(scale=tuple(scale))
    start, size = policy.window(tuple(shape), 0, rng(seed), tuple(millimetres[: len(shape)]))
    assert all(0 <= a and 1 <= s and a + s <= n for a, s, n in zip(start, size, shape, strict=True))


def test_a_3d_size_has_the_drawn_volume_and_ratios():
    source = rng()
    for _ in range(50):
        d, h, w = geometry.draw_size((HUGE,) * 3, (0.3, 0.3), (0.8, 1.25), source, None)
        assert d * h * w / HUGE**3 == pytest.approx(0.3, rel=1e-5)
        assert 0.8 <= d / h * (1 + 1e-5)
        assert d / h <= 1.25 * (1 + 1e-5)
        assert 0.8 <= d / w * (1 + 1e-5)
        assert d / w <= 1.25 * (1 + 1e-5)


def test_the_published_2d_draws():
    """A = HW*U, r = e^U, w = round(sqrt(A r)), h = round(sqrt(A / r)), from the same generator."""
    source, size = rng(3), geometry.draw_size((500, 700), (0.2, 0.4), RATIO, rng(3), None)
    area = 500 * 700 * source.uniform(0.2, 0.4)
    r = math.exp(source.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
    assert size == (round(math.sqrt(area / r)), round(math.sqrt(area * r)))


def test_a_side_floor_in_3d_is_a_volume_share():
    floor = 0.2**0.5
    assert floor == pytest.approx(0.4472, abs=1e-4)
    assert geometry.draw_size((1000,) * 3, (0.0894427,) * 2, (1.0, 1.0), rng(), None) == (447, 447, 447)


def test_acceptance_and_area_of_the_published_draw(monkeypatch):
    monkeypatch.setattr(geometry, "TRIES", 1)
    source, draws = rng(), 20_000
    sizes = [geometry.draw_size((224, 224), (0.2, 1.0), RATIO, source, None) for _ in range(draws)]
    areas = np.array([h * w / 224**2 for h, w in filter(None, sizes)])
    assert abs(areas.size / draws - 0.8409) < 4 * math.sqrt(0.8409 * 0.1591 / draws)
    assert abs(areas.mean() - 0.5402) < 4 * areas.std() / math.sqrt(areas.size)


def test_sizes_are_near_cubic_in_mm_not_in_voxels():
    size = geometry.draw_size((1000, 5000, 5000), (0.01, 0.01), RATIO, rng(), (5.0, 1.0, 1.0))
    sides = np.array(size) * (5, 1, 1)
    assert sides.max() / sides.min() < (4 / 3) ** 2 + 0.01
    assert sides.prod() / 5000**3 == pytest.approx(0.01, rel=0.01)


def test_ten_misses_in_2d_give_the_published_centre_crop():
    assert random.build(scale=(1.0, 1.0)).window((10, 100), 0, rng()) == ((0, 43), (10, 13))
    assert random.build(scale=(1.0, 1.0)).window((100, 10), 0, rng()) == ((43, 0), (13, 10))


def test_a_slab_keeps_the_drawn_volume_and_still_varies():
    policy, source = random.build(scale=(0.4, 0.4)), rng()
    windows = [policy.window((10, 240, 240), 0, source, (5.0, 1.0, 1.0)) for _ in range(40)]
    assert all(math.prod(w.size) / (10 * 240 * 240) == pytest.approx(0.4, rel=0.02) for w in windows)
    assert len({w.start for w in windows}) > 20


def test_a_volume_of_one_slice_is_cropped_in_plane():
    source, policy = rng(), random.build(scale=(0.2, 0.5))
    for _ in range(50):
        start, size = policy.window((1, 64, 80), 0, source, (1.0, 1.0, 1.0))
        assert (start[0], size[0]) == (0, 1)
        assert 0.18 < size[1] * size[2] / (64 * 80) < 0.52


def test_starts_are_uniform():
    policy, source = random.build(scale=(0.25, 0.25)), rng()
    windows = [policy.window((2000, 2000, 2000), 0, source) for _ in range(2000)]
    for axis in range(3):
        share = [w.start[axis] / (2000 - w.size[axis]) for w in windows]
        assert stats.kstest(share, "uniform").pvalue > 1e-3


def test_it_has_nothing_to_refresh_or_keep():
    policy = random.build()
    assert policy.level is policy.box(0) is None
    policy.load(policy.state())
    assert not any(policy.due(step) for step in range(100))
    assert (policy.state(), policy.statistics()) == ({}, {})


def test_one_range_for_every_view_or_one_a_view():
    assert [random.build(scale=(0.3, 0.5)).scale(view) for view in (0, 5)] == [(0.3, 0.5)] * 2
    several = random.build(scale=[(0.3, 0.5), (0.1, 0.2)])
    assert [several.scale(view) for view in (0, 1)] == [(0.3, 0.5), (0.1, 0.2)]


@pytest.mark.parametrize(
    "bad", [{"scale": (0.0, 1.0)}, {"scale": [(0.2, 1.0), (0.5, 0.2)]}, {"scale": (0.2, 1.5)}, {"ratio": (2, 1)}]
)
def test_bad_ranges_are_refused(bad):
    with pytest.raises(InputError, match="give two numbers"):
        random.build(**bad)
