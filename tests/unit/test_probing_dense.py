from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from medssl.data.phantom.cases import phantom_cache
from medssl.models.encoder import tiny
from medssl.probing import dense
from medssl.probing.dense import Field
from medssl.types import InputError


def image(seed, classes=3, size=(12, 10), dims=4, noise=0.3):
    """Features that tell the label, on the label's own grid."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=size)
    label[:3] = 0
    codes = np.random.default_rng(99).normal(size=(classes, dims)) * 3
    x = np.moveaxis(codes[label] + rng.normal(size=(*size, dims)) * noise, -1, 0)
    return Field(f"i{seed}", x.astype(np.float32), label)


def rows(field):
    return field.x.reshape(len(field.x), -1).T, field.label.ravel()


@pytest.mark.parametrize("classes", [2, 3])
def test_equals_a_logistic_regression_of_voxels(classes):
    """scikit-learn with another solver, on features that the test standardises itself."""
    images = [image(seed, classes, noise=2.0) for seed in range(3)]
    x, y = (np.concatenate(part) for part in zip(*map(rows, images), strict=True))
    scaler = StandardScaler().fit(x)
    for C in (1.0, 100.0):
        # the mean loss over voxels times three images against the penalty
        model = LogisticRegression(C=C * 3 / len(y), max_iter=10000, tol=1e-10).fit(scaler.transform(x), y)
        probe = dense.fit(images, classes, grid=[C])[0]
        test = image(7, classes, noise=2.0)
        expected = model.predict(scaler.transform(rows(test)[0])).reshape(test.label.shape)
        np.testing.assert_array_equal(probe.predict(test.x, test.label.shape), expected)
        assert len(np.unique(expected)) == classes


def test_what_is_linearly_there_is_found_and_noise_is_not():
    images = {f"i{seed}": image(seed) for seed in range(8)}
    blank = {name: Field(name, np.random.default_rng(5).normal(size=f.x.shape), f.label) for name, f in images.items()}
    draws, val, test = {"one": ["i0"], "two": ["i0", "i1"]}, ["i2", "i3"], ["i4", "i5"]

    def read(source):
        return lambda names: (source[name] for name in names)

    found = dense.few_shot(read(images), draws, val, test, 3)
    assert min(min(scores) for of_draw in found.values() for scores in of_draw.values()) > 0.95
    assert list(found["one"]) == test
    nothing = dense.few_shot(read(blank), draws, val, test, 3)
    assert max(np.nanmean(scores) for scores in nothing["two"].values()) < 0.45


def test_validation_chooses_and_test_labels_do_not():
    images = {f"i{seed}": image(seed, noise=4.0) for seed in range(9)}
    draws, val, test = {"a": ["i0"]}, ["i2", "i3", "i4"], ["i5", "i6"]

    def scores(source):
        return dense.few_shot(lambda names: (source[name] for name in names), draws, val, test, 3)["a"]

    probes = dense.fit([images["i0"]], 3)
    means = [np.mean([np.nanmean(dense.dice(probe, images[name], 3)) for name in val]) for probe in probes]
    chosen = probes[int(np.argmax(means))]
    assert len(set(means)) > 1
    assert scores(images) == {name: dense.dice(chosen, images[name], 3) for name in test}
    one = images["i5"]
    turned = images | {"i5": one._replace(label=(one.label + 1) % 3)}
    assert scores(turned)["i6"] == scores(images)["i6"]
    mask = chosen.predict(one.x, one.label.shape)
    overlap = [
        2 * ((mask == k) & (one.label == k)).sum() / ((mask == k).sum() + (one.label == k).sum()) for k in (1, 2)
    ]
    assert scores(images)["i5"] == pytest.approx(overlap)


def test_a_sample_of_voxels_stands_for_all():
    field = image(0, size=(40, 40))
    x, y, weight = dense.sample(field, 90, np.random.default_rng(0))
    assert len(y) == 90
    for value in range(3):
        assert weight[y == value].sum() == pytest.approx((field.label == value).sum())
        assert (y == value).sum() == 30
    table = {tuple(row) for row in rows(field)[0][field.label.ravel() == 2]}
    assert all(tuple(row) in table for row in x[y == 2])
    assert dense.sample(field, 1600, np.random.default_rng(0))[2].tolist() == [1.0] * 1600


def test_labels_are_those_at_the_centres_of_cells():
    label = np.arange(24).reshape(4, 6)
    np.testing.assert_array_equal(dense.label_on_grid(label, (4, 6)), label)
    np.testing.assert_array_equal(dense.label_on_grid(label, (2, 2)), label[np.ix_([1, 3], [1, 4])])
    np.testing.assert_array_equal(dense.label_on_grid(label, (8, 6)), np.repeat(label, 2, 0))


def test_levels_are_joined_on_the_finest_grid():
    maps = (torch.rand(2, 3, 8, 6), torch.rand(2, 5, 4, 3))
    found = dense.stacked(maps)
    assert torch.equal(found[:, :3], maps[0])
    torch.testing.assert_close(found[:, 3:], functional.interpolate(maps[1], (8, 6), mode="bilinear"))
    assert dense.stacked((torch.rand(1, 2, 4, 4, 4), torch.rand(1, 2, 2, 2, 2))).shape == (1, 4, 4, 4, 4)


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_are_what_a_convolution_sees(dims):
    """A linear map of the patches equals a strided convolution on the padded image."""
    torch.manual_seed(0)
    x, kernel = torch.rand(2, 2, *[8] * dims), torch.rand(1, 2, *[8] * dims)
    found = torch.einsum("d,bd...->b...", kernel.flatten(), dense.patches(x, (2,) * dims))
    convolve = functional.conv2d if dims == 2 else functional.conv3d
    expected = convolve(functional.pad(x, [3] * 2 * dims, mode="replicate"), kernel, stride=2)[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("size", "preset"), [((40, 30), "ct"), ((18, 20, 16), "ct")])
def test_fields_of_a_cache(tmp_path, size, preset):
    cache = phantom_cache(tmp_path / "cache", 4, size, 0, preset)
    encoder = tiny.build(spatial_dims=len(size), in_channels=1, channels=(4, 8)).eval()
    sides = (16,) * len(size)
    made = list(
        dense.fields(lambda x: dense.stacked(encoder(x)), cache, cache.ids, sides, lambda name: cache.label(name)[:][0])
    )
    assert [field.id for field in made] == cache.ids
    for field in made:
        assert field.x.shape == (12, *[8] * len(size))
        assert field.label.shape == cache.cases[field.id].shape


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(InputError, match="there is none"):
        dense.fit([], 2)
    alone = dense.fit([image(0)._replace(label=np.zeros((12, 10), int))], 3)[0]  # background alone
    assert not alone.predict(image(1).x, (12, 10)).any()
