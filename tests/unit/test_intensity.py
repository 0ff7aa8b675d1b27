"""Intensity transforms: exact laws of each curve, the range kept, and one draw that replays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from medssl.transforms import (
    RandBezierIntensityd,
    RandBiasFieldd,
    RandBlurNoised,
    RandGammad,
    RandHistogramShiftd,
    RandWindowJitterd,
)
from medssl.transforms.filters import blur, power, tone
from medssl.transforms.noise import add_noise, uniform_noise
from medssl.types import InputError

ALL = [
    RandGammad(),
    RandBezierIntensityd(invert=0.5),
    RandHistogramShiftd(),
    RandWindowJitterd(),
    RandBiasFieldd(),
    RandBlurNoised(blur=1.0, noise=1.0),
]
CURVES = ALL[:4]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("shape", [(1, 9, 12, 11), (3, 20, 17), (1, 1, 8, 8), (1, 1, 1, 1)])
def test_range_type_replay_and_the_input_left_alone(transform, shape) -> None:
    x = rng().random(shape, dtype=np.float32)
    kept = x.copy()
    for seed in range(4):
        params = transform.draw(rng(seed), shape)
        once, twice = transform.apply(x, params), transform.apply(x, params)
        np.testing.assert_array_equal(once, twice)
        assert once.dtype == np.float32
        assert once.shape == shape
        assert 0 <= once.min()
        assert once.max() <= 1
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("transform", CURVES, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_curves_keep_a_constant_image_constant(transform, value) -> None:
    x = np.full((1, 6, 6, 6), value, np.float32)
    for seed in range(5):
        assert np.ptp(transform.apply(x, transform.draw(rng(seed), x.shape))) == 0


def test_tone_table_is_accurate_where_curves_are_steep() -> None:
    x = np.concatenate([np.linspace(0, 1, 5001), 10.0 ** np.linspace(-8, 0, 300)]).astype(np.float32)[None, None]
    for gamma in (0.5, 0.7, 1.0, 1.5, 2.5):
        np.testing.assert_allclose(tone(x, lambda t, g=gamma: t**g), x.astype(float) ** gamma, atol=2e-6)
    np.testing.assert_array_equal(tone(np.array([-0.5, 1.5], np.float32), lambda t: t), [0, 1])


def test_powers_are_right_from_the_smallest_number_to_one() -> None:
    x = np.concatenate([np.linspace(0, 1, 5001), 10.0 ** np.linspace(-37, 0, 300)]).astype(np.float32)[None, None]
    for gamma in (0.1, 0.5, 0.7, 1.0, 1.5, 2.5):
        np.testing.assert_allclose(power(x, gamma), x.astype(float) ** gamma, atol=1e-5)
    np.testing.assert_array_equal(power(np.array([-0.5, 0, 1.5], np.float32), 0.8)[:2], 0)
    assert power(np.array([[1.5, 1]], np.float32), 0.8) == pytest.approx(1, abs=2e-6)


def test_gamma_hand_case_and_symmetric_draw() -> None:
    x = np.full((1, 2, 2), 0.25, np.float32)
    np.testing.assert_allclose(RandGammad().apply(x, {"gamma": 0.5}), 0.5, atol=1e-6)
    drawn = [RandGammad(gamma=(0.5, 2.0)).draw(rng(s), (1, 2, 2))["gamma"] for s in range(400)]
    assert min(drawn) >= 0.5
    assert max(drawn) <= 2.0
    assert np.mean(np.log(drawn)) == pytest.approx(0, abs=0.06)


def test_bezier_on_the_diagonal_is_identity_or_inversion() -> None:
    x = rng().random((1, 30, 30), dtype=np.float32)
    for points in ([[1 / 3, 1 / 3], [2 / 3, 2 / 3]], [[0.2, 0.2], [0.8, 0.8]]):
        straight = RandBezierIntensityd().apply(x, {"points": points, "invert": False})
        inverted = RandBezierIntensityd().apply(x, {"points": points, "invert": True})
        np.testing.assert_allclose(straight, x, atol=1e-5)
        np.testing.assert_allclose(inverted, 1 - x, atol=1e-5)


def test_bezier_and_histogram_shift_rise_and_keep_the_ends() -> None:
    x = np.linspace(0, 1, 1000, dtype=np.float32)[None, None]
    for transform in (RandBezierIntensityd(), RandHistogramShiftd()):
        for seed in range(20):
            y = transform.apply(x, transform.draw(rng(seed), x.shape))[0, 0]
            assert (np.diff(y) >= -1e-6).all()
            np.testing.assert_allclose(y[[0, -1]], [0, 1], atol=1e-6)
    flipped = RandBezierIntensityd(invert=1.0)
    y = flipped.apply(x, flipped.draw(rng(3), x.shape))[0, 0]
    np.testing.assert_allclose(y[[0, -1]], [1, 0], atol=1e-6)


def test_histogram_shift_hand_case() -> None:
    x = np.array([0, 0.25, 0.5, 0.75, 1], np.float32)[None, None]
    y = RandHistogramShiftd().apply(x, {"heights": [0.0, 0.8, 1.0]})
    np.testing.assert_allclose(y[0, 0], [0, 0.4, 0.8, 0.9, 1.0], atol=2e-4)


def test_window_in_hu_is_cut_and_never_wrapped() -> None:
    hu = np.array([-32768, -1000, 0, 1000, 32767], np.float32)[None, None]
    nominal = RandWindowJitterd(window=(-1000, 1000), prob=0.0)
    np.testing.assert_allclose(nominal.apply(hu, nominal.draw(rng(), hu.shape))[0, 0], [0, 0, 0.5, 1, 1])
    jitter = RandWindowJitterd(window=(-1000, 1000), level=0.1, width=0.2)
    for seed in range(50):
        params = jitter.draw(rng(seed), hu.shape)
        assert abs(params["low"] + params["high"]) / 2 <= 200
        assert 1600 <= params["high"] - params["low"] <= 2400
        y = jitter.apply(hu, params)[0, 0]
        assert y[0] == 0
        assert y[-1] == 1
        assert (np.diff(y) >= 0).all()
    exact = jitter.apply(hu, {"low": -500.0, "high": 1500.0})
    np.testing.assert_allclose(exact[0, 0], [0, 0, 0.25, 0.75, 1])


def test_at_its_defaults_the_window_jitter_shows_hu_from_lung_to_bone() -> None:
    hu = np.linspace(-1000, 2000, 31, dtype=np.int16).reshape(1, 1, -1)
    seen = RandWindowJitterd("x").set_random_state(0)({"x": hu})["x"]
    assert len(np.unique(seen)) > 15
    for scaled in (hu / 3000 + 1 / 3, np.float32(hu > 0)):
        with pytest.raises(InputError, match="values from 0 to 1, which are not HU"):
            RandWindowJitterd("x")({"x": scaled})
    same = RandWindowJitterd("x", window=(0, 1), level=0, width=0)({"x": np.float32(hu > 0)})["x"]
    np.testing.assert_array_equal(same, hu > 0)


def test_a_bias_field_shapes_a_constant_image_but_zero_stays_zero() -> None:
    transform = RandBiasFieldd()
    x = np.full((1, 8, 8), 0.5, np.float32)
    params = transform.draw(rng(), x.shape)
    assert np.ptp(transform.apply(x, params)) > 0
    assert not transform.apply(np.zeros_like(x), params).any()


def test_bias_field_is_smooth_and_as_strong_as_drawn() -> None:
    x = np.full((1, 20, 24, 28), 0.4, np.float32)
    transform = RandBiasFieldd(strength=0.5)
    for seed in range(5):
        params = transform.draw(rng(seed), x.shape)
        field = np.log(transform.apply(x, params)[0] / 0.4)
        assert np.abs(field).max() == pytest.approx(params["strength"], abs=1e-4)
        for axis in range(3):  # cubic along every axis: fourth differences vanish
            assert np.abs(np.diff(field, 4, axis=axis)).max() < 1e-4


def test_blur_equals_scipy() -> None:
    for shape in [(2, 15, 18, 21), (3, 30, 31), (1, 1, 9, 9), (1, 2, 2, 2)]:
        x = rng().random(shape, dtype=np.float32)
        for sigma in (0.3, 0.8, 1.5, 2.0):
            expected = [gaussian_filter(c, sigma, mode="nearest", radius=int(np.ceil(3 * sigma))) for c in x]
            np.testing.assert_allclose(blur(x, sigma), expected, atol=1e-6)


def test_noise_is_normal_white_and_fresh() -> None:
    x = np.full((1, 64, 64, 64), 0.5, np.float32)
    a, b = (((add_noise(x, 0.05, seed) - 0.5) / 0.05).ravel().astype(float) for seed in (1, 2))
    assert abs(a.mean()) < 4 / np.sqrt(a.size)
    assert a.std() == pytest.approx(1, abs=0.006)
    assert stats.kstest(a, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(a)) < 0.05
    limit = 4 / np.sqrt(a.size)
    assert abs(np.corrcoef(a, b)[0, 1]) < limit
    for lag in (1, 2, 3, 4, 64, 64 * 64):
        assert abs(np.corrcoef(a[:-lag], a[lag:])[0, 1]) < limit


def test_uniform_noise_fills_the_unit_interval_evenly() -> None:
    u = uniform_noise((40, 40, 40), 5)
    assert 0 < u.min()
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3


def test_probability_counts_what_happens() -> None:
    happened = [RandGammad(prob=0.3).draw(rng(s), (1, 2, 2)) is not None for s in range(1000)]
    assert np.mean(happened) == pytest.approx(0.3, abs=0.045)
    x = rng().random((1, 4, 4), dtype=np.float32)
    assert RandGammad().apply(x, None) is x


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RandGammad(prob=1.5), "prob is 1.5"),
        (lambda: RandGammad(gamma=(-1.0, 2.0)), "gamma is"),
        (lambda: RandHistogramShiftd(points=(2, 4)), "points is"),
        (lambda: RandHistogramShiftd(points=(3.5, 4)), "points is 3.5, give a whole number"),
        (lambda: RandHistogramShiftd(strength=2), "strength is"),
        (lambda: RandWindowJitterd(window=(5.0, 5.0)), "low < high"),
        (lambda: RandWindowJitterd(width=1.0), "width is"),
        (lambda: RandWindowJitterd(level=-1), "level is"),
        (lambda: RandBezierIntensityd(invert=5), "invert is 5, give a number from 0 to 1"),
        (lambda: RandBiasFieldd(strength=-1), "strength is"),
        (lambda: RandBiasFieldd(degree=0), "degree is"),
        (lambda: RandBlurNoised(blur=3), "blur is 3"),
        (lambda: RandBlurNoised(noise=True), "noise is True"),
        (lambda: RandBlurNoised(std=(-1, 0.5)), "std is"),
        (lambda: RandBlurNoised(sigma=(1, 0.5)), "sigma is .* the smaller first"),
        (lambda: RandBlurNoised(sigma=(0.3, float("nan"))), "sigma is"),
    ],
)
def test_impossible_settings_are_refused(make, said) -> None:
    with pytest.raises(InputError, match=said):
        make()
