"""Seeds as readers, patients as cases: the hand cases (localization.md) were worked out otherwise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from medssl.metrics import statistics

MR1 = np.array([[0.02, 0.05, -0.01, 0.04], [0.01, 0.03, 0.0, 0.06], [0.04, 0.05, 0.01, 0.08]])
NAN = math.nan


def rng(seed=0):
    return np.random.default_rng(seed)


def test_mrmc_of_three_seeds_and_four_patients():
    """Case MR1."""
    found = statistics.mrmc(MR1)
    assert found.estimate == pytest.approx(0.031667, abs=1e-6)
    assert found.standard_error == pytest.approx(0.0142400, abs=1e-7)
    assert found.df == pytest.approx(41.6328, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.002922, 0.060412), abs=1e-6)
    assert found.p == pytest.approx(0.031645, abs=1e-6)
    assert (found.seeds, found.patients) == (3, 4)


def test_mrmc_of_two_seeds_and_three_patients():
    """Case MR2."""
    found = statistics.mrmc(np.array([[1.0, 2, 3], [2, 4, 3]]))
    assert found.estimate == 2.5
    assert found.standard_error == pytest.approx(0.645497, abs=1e-6)
    assert found.df == pytest.approx(2.7778, abs=1e-4)
    assert found.p == pytest.approx(0.034920, abs=1e-6)


def test_mrmc_of_patients_that_agree_is_the_t_test_of_seeds():
    """Where patients do not differ beyond the noise, only the seeds are left: Student's test of their means."""
    values = np.array([[1.0, 1], [2, 2], [4, 4], [2, 2]])
    found, expected = statistics.mrmc(values), stats.ttest_1samp(values[:, 0], 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_mrmc_leaves_out_patients_without_the_class_but_not_failed_runs():
    absent = np.insert(MR1, 2, NAN, axis=1)
    assert statistics.mrmc(absent) == statistics.mrmc(MR1)
    absent[0, 2] = 0.1
    with pytest.raises(ValueError, match="some seeds"):
        statistics.mrmc(absent)


@pytest.mark.parametrize("values", [MR1[:1], MR1[:, :1], np.full((3, 4), NAN)])
def test_mrmc_says_nothing_of_one_seed_or_one_patient(values):
    found = statistics.mrmc(values)
    assert math.isnan(found.low)
    assert math.isnan(found.p)


def test_mrmc_where_nothing_varies():
    assert statistics.mrmc(np.zeros((3, 4))).p == 1
    constant = statistics.mrmc(np.full((3, 4), 0.5))
    assert (constant.low, constant.high) == (0.5, 0.5)
    assert math.isnan(constant.p)


def test_mrmc_covers_as_often_as_it_says_where_seeds_and_patients_vary():
    """Law of the interval; benchmarks/mrmc_coverage.py has the full table. Standard error of 400 trials: .011."""
    covered, generator = 0, rng(1)
    for _ in range(400):
        effects = generator.normal(0, 0.02, (5, 1)) + generator.normal(0, 0.02, (1, 40))
        found = statistics.mrmc(effects + generator.normal(0, 0.03, (5, 40)))
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 400 <= 0.98


def test_mean_of_a_patients_cases_weighs_patients_alike():
    """Case CL1."""
    values = np.array([[1.0, 1, 0], [1, NAN, NAN]])
    found = statistics.patient_means(values, ["a", "a", "b"])
    np.testing.assert_array_equal(found, [[1, 0], [1, NAN]])
    assert values[0].mean() == pytest.approx(2 / 3)
    assert found[0].mean() == 1 / 2


def test_bootstrap_of_patients_takes_all_their_cases():
    """Case CL1."""
    values = np.array([1.0, 1, 0])
    seen: list[float] = []

    def mean(indices):
        seen.append(float(values[indices].mean()))
        return seen[-1]

    statistics.grouped_interval(mean, ["a", "a", "b"], rng(), resamples=4000)
    drawn = np.array(seen[1:])
    for value, share in ((0, 1 / 4), (2 / 3, 1 / 2), (1, 1 / 4)):
        assert np.isclose(drawn, value).mean() == pytest.approx(share, abs=0.03)
    assert len(set(seen)) == 3


def test_pooled_sensitivity_is_not_the_mean_of_patients():
    """Case SE1."""
    found, lesions = np.array([3, 0, 1]), np.array([3, 1, 2])
    everyone = np.ones(3)
    assert everyone @ found / (everyone @ lesions) == pytest.approx(2 / 3)
    assert np.mean(found / lesions) == 1 / 2
    weights = statistics.patient_weights(3, 500, rng())
    assert set(weights.sum(1)) == {3}
    limits = statistics.expanded_interval(weights @ found / (weights @ lesions), 3)
    assert limits == pytest.approx((0, 1))  # three patients: t(2) reaches the extremes


@pytest.mark.parametrize("n", [5, 8, 40])
def test_expanded_percentiles_of_a_normal_mean_give_the_t_interval(n):
    """A bootstrap mean spreads by s sqrt((n-1)/n) / sqrt(n); Hesterberg's percentiles make up for both shortfalls."""
    spread = 2.0 * math.sqrt((n - 1) / n) / math.sqrt(n)
    drawn = 5 + spread * stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    expected = stats.t.interval(0.95, n - 1, 5, 2.0 / math.sqrt(n))
    assert statistics.expanded_interval(drawn, n) == pytest.approx(expected, rel=1e-3)


def test_jackknife_of_a_mean_is_the_values_themselves():
    values = np.array([0.3, 0.9, 0.1, 0.8])
    found = statistics.jackknife(lambda i: values[i].mean(), list("abcd"))
    np.testing.assert_allclose(found, values)


def test_jackknife_keeps_the_score_and_gives_its_standard_error():
    """Pseudo-values of an AUC average to it, and spread as DeLong's structural components do (Hanley 1997)."""
    score, truth = rng(2).normal(0, 1, 60), rng(3).random(60) < 0.4
    score[truth] += 1

    def auc(i):
        return stats.mannwhitneyu(score[i][truth[i]], score[i][~truth[i]]).statistic / (
            truth[i].sum() * (~truth[i]).sum()
        )

    found = statistics.jackknife(auc, range(60))
    assert found.mean() == pytest.approx(auc(np.arange(60)))
    wins = score[truth][:, None] > score[~truth]
    delong = math.sqrt(wins.mean(1).var(ddof=1) / truth.sum() + wins.mean(0).var(ddof=1) / (~truth).sum())
    assert found.std(ddof=1) / math.sqrt(60) == pytest.approx(delong, rel=0.03)


def test_jackknife_cannot_weigh_the_only_positive_patient():
    def only_with_the_first(i):
        return 1.0 if 0 in i else NAN

    assert np.isnan(statistics.jackknife(only_with_the_first, list("abc"))).all()


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.1, 0.2, 0.3], 0.25),
        ([1, 2, 3, 4, -1], 0.1875),
        ([1, 2, 3, 4, 5], 0.0625),
        ([-1, -2, -3, -4, -5, -6], 0.03125),
        (range(1, 9), 0.0078125),
        ([0.1, 0.2, 0.3, NAN], 0.25),
        ([0, 0], 1),
    ],
)
def test_exact_sign_flip(differences, p):
    """Case SF1."""
    found = statistics.sign_flip(np.array(list(differences), dtype=float))
    known = int(np.isfinite(list(differences)).sum())
    assert found == (p, 2 / 2**known, True)


def test_sign_flip_tries_every_flip():
    """18 differences, more flips than are held in memory at a time, against a count by scipy's distribution of sums."""
    differences = np.array([1.0] * 14 + [-1.0] * 4)
    expected = stats.binomtest(14, 18).pvalue  # equal sizes: the sign test
    assert statistics.sign_flip(differences).p == pytest.approx(expected)


def test_random_flips_are_never_certain():
    """Case PS1."""
    found = statistics.sign_flip(np.full(40, 1.0), rng())
    assert found == (1e-5, 1e-5, False)


def test_random_flips_agree_with_exact_ones():
    differences = rng(5).normal(0.3, 1, 14)
    exact = statistics.sign_flip(differences)
    drawn = statistics.sign_flip(differences, rng(6), exact=5)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=0.006)


@pytest.mark.parametrize(
    ("family", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02, 0.5], [0.06, 0.06, 0.5]),
        ([2 / 2**6] * 4, [0.125] * 4),
        ([2 / 2**8] * 4, [0.03125] * 4),
        ([0.9, 0.8], [1, 1]),
        ([0.01, NAN], [0.02, NAN]),
        ([], []),
    ],
)
def test_holm(family, corrected):
    """Case HO1."""
    assert statistics.holm(family) == pytest.approx(corrected, nan_ok=True)


def test_share_of_seeds_won():
    assert statistics.share_won(np.array([0.1, -0.2, 0.3, 0, NAN])) == 2.5 / 4
    assert math.isnan(statistics.share_won(np.array([])))


RK1 = np.array([[0.80, 0.70, 0.60], [0.75, 0.72, 0.65], [0.80, 0.60, 0.66]])


def test_mean_ranks_share_ties():
    """Case RK1."""
    assert statistics.mean_ranks(RK1) == pytest.approx([13 / 6, 2, 11 / 6])


def test_ranking_counts_who_comes_first():
    """Two inits, one task, patients of +1 and -1: whoever has more of the resampled patients is first, evenly."""
    difference = np.array([1.0, -1, 1, -1, 1, -1])
    task = np.stack([np.tile(difference, (2, 1)), np.zeros((2, 6))])
    found = statistics.ranking([task], rng(), resamples=8000)
    np.testing.assert_allclose(found.mean, [1.5, 1.5])
    np.testing.assert_allclose(found.first, [0.5, 0.5], atol=0.02)
    np.testing.assert_allclose((found.low, found.high), [[1, 1], [2, 2]])


def test_ranking_is_sure_where_one_init_always_wins():
    base = rng(1).normal(0, 1, (3, 20))
    tasks = [np.stack([base + 0.1, base, base - 1]), np.stack([base, base, base])[:, :2, :7]]
    found = statistics.ranking(tasks, rng(), resamples=500)
    np.testing.assert_allclose(found.mean, [1.5, 2, 2.5])
    np.testing.assert_array_equal(found.first, [1, 0, 0])
    np.testing.assert_allclose(found.low, found.high)


def test_ranking_agrees_with_a_loop():
    tasks = [rng(k).normal(0, 1, (3, 2 + k, 9)) + np.arange(3)[:, None, None] * 0.2 for k in range(3)]
    found = statistics.ranking(tasks, rng(), resamples=4000)
    generator, ranks = rng(9), []
    for _ in range(4000):
        scores = []
        for task in tasks:
            seeds, patients = (generator.integers(n, size=n) for n in task.shape[1:])
            scores.append(task[:, seeds][:, :, patients].mean((1, 2)))
        ranks.append(statistics.mean_ranks(np.array(scores).T))
    first = np.array(ranks) == np.min(ranks, axis=1, keepdims=True)
    np.testing.assert_allclose(found.first, (first / first.sum(1, keepdims=True)).mean(0), atol=0.03)


def test_ranks_need_every_score():
    whole = np.zeros((2, 3, 4))
    holed = whole.copy()
    holed[0, 1, 2] = NAN
    with pytest.raises(ValueError, match="missing"):
        statistics.ranking([holed], rng())
    with pytest.raises(ValueError, match="same inits"):
        statistics.ranking([whole, whole[:1]], rng())


@pytest.mark.parametrize(
    ("scores", "target", "labels", "reached", "bound"),
    [
        ([0.60, 0.70, 0.76, 0.80], 0.74, 8, 12.6992, ""),
        ([0.60, 0.70, 0.76, 0.80], 0.78, 16, 22.6274, ""),
        ([0.60, 0.70, 0.76, 0.80], 0.65, 4, 5.6569, ""),
        ([0.60, 0.70, 0.76, 0.80], 0.60, 4, 4, "<="),
        ([0.60, 0.70, 0.76, 0.80], 0.80, 4, 32, ""),
        ([0.60, 0.70, 0.76, 0.80], 0.82, 8, 32, ">"),
        ([0.60, 0.70, 0.68, 0.80], 0.69, 4, 7.4643, ""),
        ([0.60, 0.70, 0.68, 0.80], 0.75, 4, 22.6274, ""),
    ],
)
def test_labels_that_scratch_needs(scores, target, labels, reached, bound):
    """Case LS1."""
    found = statistics.labels_saved([4, 8, 16, 32], np.array(scores), target, labels)
    assert found.reached == pytest.approx(reached, abs=1e-4)
    assert found.bound == bound
    assert found.saved == pytest.approx(reached - labels, abs=1e-4)


def test_labels_saved_in_words():
    found = statistics.labels_saved([4, 8, 16, 32], np.array([0.60, 0.70, 0.76, 0.80]), 0.74, 8)
    assert (found.saved, found.factor, found.share) == pytest.approx((4.699, 1.587, 0.370), abs=1e-3)
    assert str(found) == "12.7"
    assert str(statistics.labels_saved([4, 8], np.array([0.6, 0.7]), 0.9, 4)) == "> 8"


def test_labels_saved_limits_become_bounds():
    curve = np.tile([0.60, 0.70, 0.76, 0.80], (100, 1))
    target = np.array([0.90] * 3 + [0.74] * 97)
    low, high = statistics.labels_saved_interval([4, 8, 16, 32], curve, target, 8)
    assert (str(low), str(high)) == ("12.7", "> 32")
    target[0] = 0.74  # now 2 % lie beyond
    assert str(statistics.labels_saved_interval([4, 8, 16, 32], curve, target, 8)[1]) == "12.7"


def test_labels_saved_wants_rising_amounts():
    with pytest.raises(ValueError, match="ascending numbers of labels"):
        statistics.labels_reaching([8, 4], np.array([0.6, 0.7]), 0.65)


def test_patients_are_numbered_as_they_come():
    for groups in itertools.permutations(["b", "a", "a"]):
        found = statistics.patient_means(np.arange(3.0)[None], groups)
        first = np.mean([i for i, name in enumerate(groups) if name == groups[0]])
        assert found[0, 0] == first
