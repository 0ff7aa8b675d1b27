from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medssl.metrics import statistics


def rng(seed=0):
    return np.random.default_rng(seed)


def of_mean(values, groups, rng, **options):
    return statistics.grouped_interval(lambda i: np.nanmean(values[i]), groups, rng, **options)


def test_interval_agrees_with_scipy_when_every_case_is_a_patient():
    values = rng(1).normal(3, 1, 40)
    ours = of_mean(values, list(range(40)), rng(), resamples=5000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=rng(2)).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03)


def test_cases_of_one_patient_move_together():
    """Ten copies of a patient's value say no more than one: the interval must not shrink."""
    values = rng(1).normal(0, 1, 12)
    once = of_mean(values, list(range(12)), rng(), resamples=4000)
    copied = of_mean(np.repeat(values, 10), np.repeat(range(12), 10).tolist(), rng(), resamples=4000)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    loose = of_mean(np.repeat(values, 10), list(range(120)), rng(), resamples=4000)
    assert loose.high - loose.low < 0.5 * (copied.high - copied.low)


def test_interval_covers_as_often_as_it_says():
    covered = 0
    for trial in range(100):
        values = rng(trial).normal(0, 1, 50)
        found = of_mean(values, list(range(50)), rng(trial + 1000), resamples=400)
        covered += found.low <= 0 <= found.high
    assert 88 <= covered <= 99


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_one_patient_has_no_interval():
    values = np.array([1.0, math.nan, 3.0])
    assert of_mean(values, [0, 1, 2], rng()).estimate == 2
    lonely = of_mean(values, [7, 7, 7], rng())
    assert math.isnan(lonely.low)


def test_sign_flip_is_exact_for_few():
    difference = np.array([1.0, 2.0, 3.0])  # of 8 flips, all plus and all minus reach the mean
    assert statistics.sign_flip(difference).p == pytest.approx(2 / 8)
    assert statistics.sign_flip(-difference).p == pytest.approx(2 / 8)
    assert statistics.sign_flip(np.zeros(5)).p == 1.0


def test_sign_flip_agrees_with_scipy():
    difference = rng(5).normal(0.3, 1, 30)
    ours = statistics.sign_flip(difference).p
    theirs = stats.permutation_test(
        (difference, np.zeros(30)), lambda a, b: np.mean(a - b), permutation_type="samples", rng=rng(6)
    )
    assert ours == pytest.approx(theirs.pvalue, abs=0.02)


def test_sign_flip_never_gives_zero():
    assert statistics.sign_flip(np.full(40, 1.0)).p == pytest.approx(1 / 100_000)
