from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from medssl.data.phantom.cases import phantom_cache
from medssl.models.encoder import tiny
from medssl.probing import dense, voxels
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
@pytest.mark.parametrize("shrinkage", [0.1, 0.9])
def test_equals_the_discriminant_analysis_of_scikit_learn(classes, shrinkage):
    """On features that the test standardises itself; the prior is that of the voxels, or equal."""
    images = [image(seed, classes, noise=2.0) for seed in range(3)]
    x, y = (np.concatenate(part) for part in zip(*map(rows, images), strict=True))
    scaler = StandardScaler().fit(x)
    test = image(7, classes, noise=2.0)
    sums = [voxels.moments(one.x, one.label, classes) for one in images]
    for power, priors in ((1.0, None), (0.0, np.full(classes, 1 / classes))):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors)
        # scikit-learn weighs the covariances of the classes by `priors`, ours by the voxels: fit, then set the prior
        model.set_params(priors=None).fit(scaler.transform(x), y)
        expected = scaler.transform(rows(test)[0]) @ model.coef_.T + model.intercept_
        if classes == 2:
            expected = np.concatenate([0 * expected, expected], 1)
        if priors is not None:
            shares = np.bincount(y) / len(y)
            expected = expected - np.log(shares) if classes > 2 else expected - [0, np.log(shares[1] / shares[0])]
        [probe] = voxels.fit(sums[0] + sums[1] + sums[2], shrinkage=[shrinkage], prior=[power])
        found = probe.predict(test.x).reshape(classes, -1).T
        np.testing.assert_allclose(found, softmax(expected, axis=1), atol=1e-6)


def test_what_is_linearly_there_is_found_and_noise_is_not():
    images = {f"i{seed}": image(seed) for seed in range(8)}
    blank = {name: Field(name, np.random.default_rng(5).normal(size=f.x.shape), f.label) for name, f in images.items()}
    draws, val, test = {"one": ["i0"], "two": ["i0", "i1"]}, ["i2", "i3"], ["i4", "i5"]

    def read(source):
        return lambda names: (source[name] for name in names)

    found = dense.few_shot(read(images), draws, val, test, 3)
    for masks in found.values():
        assert list(masks) == test
        assert min(np.mean(masks[name] == images[name].label) for name in test) > 0.95
    nothing = dense.few_shot(read(blank), draws, val, test, 3)
    assert max(np.mean(nothing["two"][name] == images[name].label) for name in test) < 0.6


def test_validation_chooses_and_test_labels_do_not():
    images = {f"i{seed}": image(seed, noise=4.0) for seed in range(9)}
    draws, val, test = {"a": ["i0"], "b": ["i0", "i1"]}, ["i2", "i3", "i4"], ["i5", "i6"]

    def masks(source, val=val):
        return dense.few_shot(lambda names: (source[name] for name in names), draws, val, test, 3)

    def dice(mask, label):
        return np.mean(
            [2 * ((mask == k) & (label == k)).sum() / ((mask == k).sum() + (label == k).sum()) for k in (1, 2)]
        )

    before = masks(images)
    for name, ids in draws.items():
        sums = [voxels.moments(images[i].x, images[i].label, 3) for i in ids]
        probes = voxels.fit(sums[0] if len(sums) == 1 else sums[0] + sums[1])
        means = [
            np.mean([dice(probe.predict(images[i].x).argmax(0), images[i].label) for i in val]) for probe in probes
        ]
        assert len(set(means)) > 3
        chosen = probes[int(np.argmax(means))]
        for i in test:
            np.testing.assert_array_equal(before[name][i], chosen.predict(images[i].x).argmax(0))
    turned = images | {i: images[i]._replace(label=(images[i].label + 1) % 3) for i in test}
    after, alone = masks(turned), masks(images, [])
    for name in draws:
        for i in test:
            np.testing.assert_array_equal(before[name][i], after[name][i])
    [default] = voxels.fit(voxels.moments(images["i0"].x, images["i0"].label, 3), shrinkage=[0.5], prior=[1.0])
    np.testing.assert_array_equal(alone["a"]["i5"], default.predict(images["i5"].x).argmax(0))


def test_little_memory_gives_the_same_masks(monkeypatch):
    images = {f"i{seed}": image(seed, noise=3.0) for seed in range(5)}
    given = {"a": ["i0"], "b": ["i0", "i1"], "c": ["i1"]}, ["i2"], ["i3", "i4"], 3

    def read(names):
        return (images[name] for name in names)

    before = dense.few_shot(read, *given)
    monkeypatch.setattr(dense, "MEMORY", 1)
    after = dense.few_shot(read, *given)
    for name, masks in before.items():
        for i, mask in masks.items():
            np.testing.assert_array_equal(mask, after[name][i])


def test_masks_lie_on_the_grid_of_their_labels():
    """Features of half the resolution: the mask of a half image is that half."""
    label = np.zeros((16, 12), int)
    label[:, 6:] = 1
    x = np.stack([np.random.default_rng(k).normal(size=(8, 6)) * 0.01 for k in range(2)]).astype(np.float32)
    x[0, :, 3:] += 1
    field = Field("a", x, label)
    found = dense.few_shot(lambda names: [field for _ in names], {"": ["a"]}, ["a"], ["a"], 2)[""]["a"]
    np.testing.assert_array_equal(found, label)


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
    with pytest.raises(InputError, match="draw x has none"):
        dense.few_shot(lambda names: [], {"x": []}, [], [], 2)
    blank = image(0)._replace(label=np.zeros((12, 10), int))  # background alone
    assert not dense.few_shot(lambda names: [blank for _ in names], {"": ["i0"]}, [], ["i0"], 3)[""]["i0"].any()
