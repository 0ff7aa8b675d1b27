"""Stain transforms: un-mixing is undone by re-mixing, estimated vectors are the ones that made the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl.data.phantom.cases import histology
from medssl.transforms import RandStainJitterd, RandStainMatchd
from medssl.transforms.stain import HE_TARGET, HED, macenko, optical_density
from medssl.types import InputError


def tile(seed: int = 0) -> np.ndarray:
    return np.moveaxis(histology(np.random.default_rng(seed), (96, 96))[0], -1, 0).astype(np.float32) / 255


def mixed(vectors: np.ndarray, seed: int = 0, size: int = 80) -> np.ndarray:
    """RGB made of two stains of known vectors, each pixel mostly one of them."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.5, (2, size * size))
    amounts[rng.integers(0, 2, size * size), np.arange(size * size)] *= 0.02
    return np.exp(-(vectors.T @ amounts)).reshape(3, size, size).astype(np.float32)


@pytest.mark.parametrize("stains", ["hed", "macenko"])
def test_zero_jitter_is_identity_to_one_grey_level(stains) -> None:
    still = {"scale": [0.0, 0.0, 0.0], "shift": [0.0, 0.0, 0.0]}
    noise = np.random.default_rng(0).random((3, 40, 40), dtype=np.float32)
    for x in (tile(), noise, np.ones((3, 8, 8), np.float32), np.zeros((3, 8, 8), np.float32)):
        same = RandStainJitterd(stains=stains).apply(x, still)
        assert np.abs(same - x).max() <= 1 / 255


def test_jitter_scales_the_stain_it_names() -> None:
    amount = np.array([0.8, 0.0, 0.0])  # haematoxylin alone
    x = np.exp(-(amount @ HED)).astype(np.float32)[:, None, None] * np.ones((3, 4, 4), np.float32)
    y = RandStainJitterd().apply(x, {"scale": [0.5, 0.9, 0.9], "shift": [0.0, 0.0, 0.0]})
    np.testing.assert_allclose(optical_density(y)[:, 0, 0], 1.2 * HED[0], atol=1e-5)
    z = RandStainJitterd().apply(x, {"scale": [0.0, 0.0, 0.0], "shift": [0.0, 0.1, 0.0]})
    np.testing.assert_allclose(optical_density(z)[:, 0, 0], 0.8 * HED[0] + 0.1 * HED[1], atol=1e-5)


def test_macenko_finds_the_vectors_that_made_the_image() -> None:
    vectors = HE_TARGET / np.linalg.norm(HE_TARGET, axis=1, keepdims=True)
    found = macenko(optical_density(mixed(vectors)))
    assert (np.sum(found * vectors, 1) > 0.995).all()  # within 6 degrees


def test_too_little_tissue_falls_back_and_matches_nothing() -> None:
    white = np.full((3, 50, 50), 0.97, np.float32)
    assert macenko(optical_density(white)) is None
    params = {"scale": [0.1, 0.1, 0.1], "shift": [0.0, 0.0, 0.0]}
    by_hed = RandStainJitterd(stains="hed").apply(white, params)
    np.testing.assert_array_equal(RandStainJitterd(stains="macenko").apply(white, params), by_hed)
    assert RandStainMatchd().apply(white, {"reference": 0, "weight": 1.0}) is white
    with pytest.raises(InputError, match="reference 0 has too little"):
        RandStainMatchd(references=[white])


def test_matching_takes_on_the_reference_and_weight_zero_changes_nothing() -> None:
    own = HED[:2] / np.linalg.norm(HED[:2], axis=1, keepdims=True)
    other = np.array([[0.75, 0.6, 0.28], [0.2, 0.85, 0.49]])
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    x, reference = mixed(own, 1), mixed(other, 2)
    match = RandStainMatchd(references=[reference])
    np.testing.assert_allclose(match.apply(x, {"reference": 0, "weight": 0.0}), x, atol=1 / 255)
    moved = match.apply(x, {"reference": 0, "weight": 1.0})
    target, start = macenko(optical_density(reference)), macenko(optical_density(x))
    there = macenko(optical_density(moved))
    assert (np.sum(there * target, 1) > 0.995).all()
    assert (np.sum(there * target, 1) > np.sum(start * target, 1)).all()


def test_range_replay_and_wrong_channels() -> None:
    x = tile()
    for transform in (RandStainJitterd(sigma=0.3), RandStainJitterd(stains="macenko"), RandStainMatchd()):
        for seed in range(4):
            params = transform.draw(np.random.default_rng(seed), x.shape)
            y = transform.apply(x, params)
            np.testing.assert_array_equal(y, transform.apply(x, params))
            assert 0 <= y.min()
            assert y.max() <= 1
            assert y.dtype == np.float32
        for shape in ((1, 8, 8), (4, 8, 8), (3, 8, 8, 8)):
            with pytest.raises(InputError, match=r"RGB image \(3,Y,X\)"):
                transform.apply(np.ones(shape, np.float32), params)


@pytest.mark.parametrize("make", [RandStainJitterd, RandStainMatchd])
def test_gray_images_are_refused_whether_or_not_the_coin_falls(make) -> None:
    rarely = make("x", prob=0.0)
    with pytest.raises(InputError, match=r"RGB image \(3,Y,X\)"):
        rarely({"x": np.ones((1, 8, 8), np.float32)})
    with pytest.raises(InputError, match=r"RGB image \(3,Y,X\)"):
        make(["x", "y"], prob=0.0)({"x": np.ones((3, 8, 8), np.float32), "y": np.ones((1, 8, 8), np.float32)})
    with pytest.raises(InputError, match=r"RGB image \(3,Y,X\)"):
        rarely.draw(np.random.default_rng(0), (1, 8, 8))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RandStainJitterd(stains="macenk"), "stains is 'macenk', give hed or macenko"),
        (lambda: RandStainJitterd(sigma=-1), "sigma is -1"),
        (lambda: RandStainMatchd(weight=(0, 2)), "weight is"),
        (lambda: RandStainMatchd(references=[]), "references is"),
        (lambda: RandStainMatchd(references=5), "references is 5"),
        (lambda: RandStainMatchd(references=["a.png"]), "reference 0 is not an image"),
        (lambda: RandStainMatchd(references=[tile() * 255]), "reference 0 is not an image in 0..1"),
        (lambda: RandStainMatchd(references=[tile()[:1]]), "need an RGB image"),
    ],
)
def test_impossible_settings_are_refused(make, said) -> None:
    with pytest.raises(InputError, match=said):
        make()


def luminance(x: np.ndarray) -> np.ndarray:
    return x.mean(0).ravel()


def real_tiles() -> list[np.ndarray]:
    folder = Path(__file__).parents[3] / "shared" / "data" / "he" / "open" / "images"
    if not folder.is_dir():
        pytest.skip("the stained tiles are not beside the project")
    images = (np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.iterdir()))
    return [np.moveaxis(image, -1, 0).astype(np.float32) / 255 for image in images]


def nearly_one_stain() -> list[np.ndarray]:
    """Purple tiles: two stains 14 degrees apart, and noise, which un-mixing would blow up."""
    rng = np.random.default_rng(0)
    own = np.array([HED[0], HED[0] + 0.35 * HED[1]])
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    images = [mixed(own, seed) for seed in range(4)]
    return [np.clip(x + rng.normal(0, 0.03, x.shape), 0, 1).astype(np.float32) for x in images]


@pytest.mark.parametrize("tiles", [real_tiles, nearly_one_stain])
def test_matching_never_makes_another_picture(tiles) -> None:
    """All the way to the target what is dark stays dark, also where the stains are hard to tell apart."""
    images = tiles()
    matched = [RandStainMatchd(weight=(1, 1)).apply(x, {"reference": 0, "weight": 1.0}) for x in images]
    alike = [np.corrcoef(luminance(x), luminance(y))[0, 1] for x, y in zip(images, matched, strict=True)]
    assert min(alike) > 0.9
