from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medssl.data.phantom.cases import phantom_cache
from medssl.models.encoder import tiny
from medssl.patches import network_input
from medssl.probing import baselines, choice, features, few_shot, linear, neighbours
from medssl.types import InputError


def cases(seed, n, dims, classes, gap=1.0):
    """Gaussian clouds `gap` apart, on scales that differ a thousandfold between features."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dims)) * gap
    label = np.arange(n) % classes
    return (centres[label] + rng.normal(size=(n, dims))) * np.logspace(-2, 1, dims), np.eye(classes)[label]


# --- the logistic probe


def test_separable_classes_are_told_apart():
    x, y = cases(0, 60, 8, 3, gap=8)
    test_x, test_y = cases(1, 300, 8, 3, gap=8)
    found = linear.fit(x, y, *cases(2, 60, 8, 3, gap=8)).predict(test_x)
    assert (found.argmax(1) == test_y.argmax(1)).all()
    assert found.sum(1) == pytest.approx(np.ones(300))


@pytest.mark.parametrize(("n", "dims", "classes"), [(12, 40, 3), (50, 6, 3), (12, 40, 2), (50, 6, 2)])
@pytest.mark.parametrize("C", [1e-2, 1.0])
def test_equals_scikit_learn_on_all_features(n, dims, classes, C):
    """Also where the solver works in the span of fewer cases than features."""
    (x, y), (test, _) = cases(0, n, dims, classes), cases(1, 20, dims, classes)
    scaler = StandardScaler().fit(x)
    expected = LogisticRegression(C=C, max_iter=10000, tol=1e-10).fit(scaler.transform(x), y.argmax(1))
    found = linear.path(x, y, grid=[C])[0]
    np.testing.assert_allclose(found.predict(test), expected.predict_proba(scaler.transform(test)), atol=2e-4)


def test_many_labels_are_one_regression_each():
    (x, y), (test, _) = cases(0, 40, 5, 3), cases(1, 20, 5, 3)
    y = np.stack([y[:, 0], 1 - y[:, 1], np.zeros(40)], 1)
    found = linear.path(x, y, multilabel=True, grid=[0.1])[0].predict(test)
    scaler = StandardScaler().fit(x)
    for k in range(2):
        model = LogisticRegression(C=0.1, max_iter=10000, tol=1e-10).fit(scaler.transform(x), y[:, k])
        np.testing.assert_allclose(found[:, k], model.predict_proba(scaler.transform(test))[:, 1], atol=2e-4)
    assert found[:, 2] == pytest.approx(np.full(20, 0.5 / 41))  # a label that no training case has


def test_a_class_without_training_cases_has_no_probability():
    x, y = cases(0, 20, 4, 2)
    y = np.insert(y, 1, 0, axis=1)
    found = linear.fit(x, y).predict(x)
    assert (found[:, 1] == 0).all()
    assert found.sum(1) == pytest.approx(np.ones(20))
    assert linear.fit(x[:1], y[:1]).predict(x)[:, 0] == pytest.approx(np.ones(20))  # one case: its class alone


def test_the_strength_is_the_best_on_validation():
    (x, y), val = cases(0, 9, 30, 3), cases(1, 200, 30, 3)
    every = linear.path(x, y)
    for score in (choice.likelihood, choice.accuracy):
        scores = [score(probe.predict(val[0]), val[1]) for probe in every]
        assert linear.fit(x, y, *val, score=score).C == every[int(np.argmax(scores))].C
    assert len({round(choice.likelihood(probe.predict(val[0]), val[1]), 6) for probe in every}) > 3  # it matters
    assert linear.fit(x, y).C == linear.GRID[len(linear.GRID) // 2]


def test_training_cases_alone_decide_the_standardisation():
    x, _ = cases(0, 30, 4, 3)
    x[:, 2] = 7.0  # constant
    found = choice.scaling(x)
    z = found(x)
    assert z.mean(0) == pytest.approx(np.zeros(4), abs=1e-9)
    assert z.std(0) == pytest.approx([1, 1, 0, 1])
    far = found(x + 100)  # other cases are measured by it, and do not move it
    assert (far[:, [0, 1, 3]] - z[:, [0, 1, 3]]) == pytest.approx(
        np.broadcast_to(100 * found.scale[[0, 1, 3]], (30, 3))
    )


def test_test_labels_decide_nothing():
    x, y = cases(0, 90, 12, 3)
    ids = [f"c{i}" for i in range(90)]
    table, truth = dict(zip(ids, x, strict=True)), dict(zip(ids, y, strict=True))
    draws, val, test = {"a": ids[:9], "b": ids[:30]}, ids[30:60], ids[60:]
    before = few_shot.predict(linear.fit, table, truth, draws, val, test)
    turned = truth | {name: np.roll(truth[name], 1) for name in test}
    after = few_shot.predict(linear.fit, table, turned, draws, val, test)
    for name, probability in before.items():
        np.testing.assert_array_equal(probability, after[name])
    alone = linear.fit(x[:9], y[:9], x[30:60], y[30:60]).predict(x[60:])
    np.testing.assert_array_equal(before["a"], alone)


def test_the_likelihood_is_that_of_one_class_or_of_each_label():
    one = choice.likelihood(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([[0, 1], [1, 0]]))
    assert one == pytest.approx((np.log(0.8) + np.log(0.5)) / 2)
    each = choice.likelihood(np.array([[0.2, 0.7]]), np.array([[1, 1]]))
    assert each == pytest.approx((np.log(0.2) + np.log(0.7)) / 2)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(InputError, match="there are none"):
        linear.fit(np.zeros((0, 3)), np.zeros((0, 2)))
    with pytest.raises(InputError, match="1 of 2 cases are not finite"):
        neighbours.fit(np.array([[0.0], [np.nan]]), np.eye(2))


# --- neighbours


def test_neighbours_vote_by_cosine():
    """By hand: scaling with mean 0 and scale 1, three training cases, the two nearest at cosines 1 and 0.8."""
    probe = neighbours.Neighbours(
        choice.Scaling(np.zeros(2), np.ones(2)), np.array([[1.0, 0], [0.8, 0.6], [-1, 0]]), np.eye(3), 2
    )
    weights = softmax(np.array([1.0, 0.8]) / 0.07)
    np.testing.assert_allclose(probe.predict(np.array([[5.0, 0]])), [[*weights, 0]])


def test_the_number_of_neighbours_is_the_best_on_validation():
    x, y = cases(0, 60, 5, 3, gap=0.7)
    val = cases(1, 100, 5, 3, gap=0.7)
    scores = {k: choice.accuracy(neighbours.fit(x, y, grid=[k]).predict(val[0]), val[1]) for k in (1, 5, 20, 60)}
    assert neighbours.fit(x, y, *val, grid=[1, 5, 20, 100]).k == max(scores, key=scores.__getitem__)
    assert scores[1] < max(scores.values())


# --- draws


def test_draws_are_nested_and_take_one_image_a_patient():
    ids = [f"i{i:02d}" for i in range(60)]
    groups = [f"p{i // 2}" for i in range(60)]
    classes = [("a", "b", "c")[i // 2 % 3] for i in range(60)]
    of = dict(zip(ids, zip(groups, classes, strict=True), strict=True))
    draws = [few_shot.draw(ids, groups, n, 3, classes) for n in (1, 2, 5, 10)]
    for n, chosen in zip((1, 2, 5, 10), draws, strict=True):
        assert sorted(of[name][1] for name in chosen) == sorted("abc" * n)
        assert len({of[name][0] for name in chosen}) == 3 * n
    assert all(set(small) < set(large) for small, large in pairwise(draws))
    order = np.random.default_rng(0).permutation(60)
    mixed = few_shot.draw(*([part[i] for i in order] for part in (ids, groups)), 5, 3, [classes[i] for i in order])
    assert mixed == draws[2]
    assert few_shot.draw(ids, groups, 5, 4, classes) != draws[2]
    assert len(few_shot.draw(ids, groups, 7, 0)) == 7
    with pytest.raises(InputError, match=r"11 training images of class a .* 10 patients"):
        few_shot.draw(ids, groups, 11, 0, classes)


# --- features


@pytest.fixture(scope="module", params=[2, 3])
def setup(request, tmp_path_factory):
    """A cache, an encoder with batch norms that have seen something, and the size it sees."""
    dims = request.param
    size, preset = ((40, 30), "xray") if dims == 2 else ((20, 18, 22), "ct")
    cache = phantom_cache(tmp_path_factory.mktemp("cache") / "c", 5, size, 0, preset)
    torch.manual_seed(0)
    encoder = tiny.build(spatial_dims=dims, in_channels=1, channels=(4, 6, 8), norm="batch")
    encoder(torch.rand(4, 1, *[16] * dims))
    return cache, encoder.train(), (16,) * dims


def test_pooled_features_equal_a_forward_by_hand(setup):
    cache, encoder, size = setup
    found = features.of_cache(encoder, cache, cache.ids, size)
    assert encoder.training
    encoder.eval()
    with torch.no_grad():
        for row, name in enumerate(cache.ids):
            case = cache.cases[name]
            x = network_input(cache.image(name)[:], case.intensity, case.spacing, size, False)
            maps = [level[0].numpy() for level in encoder(x)]
            means = [level.reshape(len(level), -1).mean(1) for level in maps]
            stds = [level.reshape(len(level), -1).std(1) for level in maps]
            np.testing.assert_allclose(found.select("mean")[row], means[-1], atol=1e-5)
            np.testing.assert_allclose(found.select("mean", 0)[row], means[0], atol=1e-5)
            np.testing.assert_allclose(found.select("mean_std", 1)[row], [*means[1], *stds[1]], atol=1e-5)
            every = np.concatenate([part for pair in zip(means, stds, strict=True) for part in pair])
            np.testing.assert_allclose(found.select("all_levels")[row], every, atol=1e-5)
    encoder.train()
    assert found.select("all_levels").dtype == np.float32
    assert found.select("mean").std(0).max() > 1e-3  # images differ


def test_batches_and_order_do_not_matter(setup):
    cache, encoder, size = setup
    whole = features.of_cache(encoder, cache, cache.ids, size).select("all_levels")
    images = list(features.images(cache, cache.ids, size))
    for batch, order in ((1, [0, 1, 2, 3, 4]), (2, [4, 2, 0, 1, 3])):
        parts = features.batched([images[i] for i in order], batch)
        found = features.extract({"": encoder}, parts)[""].select("all_levels")
        np.testing.assert_allclose(found, whole[order], rtol=1e-4, atol=1e-6)


def test_images_of_other_sizes_are_batched_apart():
    sizes = [(4, 4), (4, 4), (6, 4), (4, 4)]
    found = [tuple(b.shape) for b in features.batched([torch.zeros(1, *size) for size in sizes])]
    assert found == [(2, 1, 4, 4), (1, 1, 6, 4), (1, 1, 4, 4)]


def test_a_level_that_does_not_exist_is_refused():
    found = features.Pooled((np.zeros((1, 2)),) * 3, (np.zeros((1, 2)),) * 3)
    assert found.select("mean", -3).shape == (1, 2)
    with pytest.raises(InputError, match=r"level is 3, but the encoder has levels 0 .* to 2"):
        found.select("mean", 3)


# --- baselines


def test_untrained_networks_are_those_of_their_seed():
    def make():
        return tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8))

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other = baselines.untrained(make, [3, 4]), baselines.untrained(make, [4])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(one) == ["untrained_3", "untrained_4"]
    torch.manual_seed(4)
    by_hand = make().state_dict()
    for name, tensor in one["untrained_4"].state_dict().items():
        assert torch.equal(tensor, by_hand[name])
        assert torch.equal(tensor, other["untrained_4"].state_dict()[name])
    assert not torch.equal(one["untrained_3"].levels[0].conv1.weight, by_hand["levels.0.conv1.weight"])


def test_pixels_are_means_of_cells():
    x = torch.arange(2 * 16 * 24.0).reshape(1, 2, 16, 24)
    expected = x.numpy().reshape(2, 8, 2, 8, 3).mean((2, 4)).reshape(1, -1)
    np.testing.assert_allclose(baselines.pixels([x]), expected)
    assert baselines.pixels([torch.zeros(2, 1, 16, 16, 16)]).shape == (2, 512)


def test_the_prior_is_the_share_of_each_class():
    found = baselines.prior(np.array([[1, 0], [1, 0], [0, 1], [1, 0]]), 3)
    np.testing.assert_allclose(found, [[0.75, 0.25]] * 3)
