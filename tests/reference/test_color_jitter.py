"""Color jitter against torchvision's documented formulas, written pixel by pixel; and the whole input of DiRA's recipe.

Sources: the documentation of torchvision.transforms.ColorJitter and of its functional forms adjust_brightness,
adjust_contrast, adjust_saturation and adjust_hue; the settings are those of the releases of DiRA, MoCo-v2 and AdCo.
"""

from __future__ import annotations

import colorsys
import itertools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, stats

from medssl.build import parts
from medssl.crop import random
from medssl.data.cache import Case
from medssl.data.phantom.images import xray
from medssl.recipe import load
from medssl.transforms import RandColorJitterd
from medssl.types import Window

NAMES = ("brightness", "contrast", "saturation", "hue")


def cut(x: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(x, 0.0), 1.0)


def luminance(x: np.ndarray) -> np.ndarray:
    return np.tensordot((0.299, 0.587, 0.114), x, 1)


def adjusted(x: np.ndarray, name: str, factor: float) -> np.ndarray:
    """One step on RGB (3,*S) float64."""
    if name == "brightness":
        return cut(factor * x)
    if name == "contrast":
        return cut(factor * x + (1 - factor) * luminance(x).mean())
    if name == "saturation":
        return cut(factor * x + (1 - factor) * luminance(x))
    turned = np.empty_like(x)
    for at in np.ndindex(x.shape[1:]):
        h, s, v = colorsys.rgb_to_hsv(*x[(slice(None), *at)])
        turned[(slice(None), *at)] = colorsys.hsv_to_rgb((h + factor) % 1, s, v)
    return turned


def jittered(x: np.ndarray, steps: list[list[Any]]) -> np.ndarray:
    """All steps on (1,*S) or (3,*S); gray is three equal channels, as in the releases."""
    rgb = np.repeat(x, 4 - len(x) if len(x) == 1 else 1, axis=0).astype(float)
    for name, factor in steps:
        rgb = adjusted(rgb, name, factor)
    return rgb[: len(x)]


@pytest.mark.parametrize("shape", [(3, 9, 11), (1, 9, 11), (1, 5, 6, 7)])
def test_every_draw_is_that_of_the_formulas(shape: tuple[int, ...]) -> None:
    jitter = RandColorJitterd()
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    x[:, 0] = 0.25  # gray, black and white pixels have no hue
    x[:, 1], x[:, 2] = 0, 1
    for seed in range(24):
        params = jitter.draw(np.random.default_rng(seed), shape)
        np.testing.assert_allclose(jitter.apply(x, params), jittered(x, params["steps"]), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_each_step_alone_is_that_of_its_formula_and_is_cut_at_once(name: str) -> None:
    x = np.random.default_rng(1).random((3, 6, 7), dtype=np.float32)
    for factor in (0.0, 0.6, 1.0, 1.4, 3.0) if name != "hue" else (-0.5, -0.1, 0.0, 0.1, 0.5):
        found = RandColorJitterd().change(x, {"steps": [[name, factor]]})
        np.testing.assert_allclose(found, adjusted(x.astype(float), name, factor), atol=1e-6)
    brighter, darker = ["brightness", 1.4], ["brightness", 0.5]
    twice = RandColorJitterd().change(np.full((1, 2, 2), 0.9, np.float32), {"steps": [brighter, darker]})
    np.testing.assert_allclose(twice, 0.5, atol=1e-6)  # 0.9 x 1.4 was cut to 1 before it was halved


def test_factors_are_uniform_and_the_four_steps_come_in_any_order() -> None:
    jitter, rng = RandColorJitterd(prob=0.8, hue=0.1, brightness=1.5), np.random.default_rng(2)
    drawn = [jitter.draw(rng, (3, 4, 4)) for _ in range(6000)]
    made = [params["steps"] for params in drawn if params is not None]
    assert len(made) / len(drawn) == pytest.approx(0.8, abs=0.02)
    ends = {"brightness": (0, 2.5), "contrast": (0.6, 1.4), "saturation": (0.6, 1.4), "hue": (-0.1, 0.1)}
    for name, (low, high) in ends.items():
        factors = [dict(map(tuple, steps))[name] for steps in made]
        assert stats.kstest(factors, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    orders = [tuple(name for name, _ in steps) for steps in made]
    counts = [orders.count(order) for order in itertools.permutations(NAMES)]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_gray_has_no_hue_and_no_saturation_and_strength_0_leaves_a_step_out() -> None:
    x = np.random.default_rng(3).random((1, 5, 5), dtype=np.float32)
    colors = {"steps": [["saturation", 0.2], ["hue", 0.3]]}
    np.testing.assert_array_equal(RandColorJitterd().change(x, colors), x)
    two = np.concatenate([x, 1 - x])
    np.testing.assert_array_equal(RandColorJitterd().change(two, colors), two)
    alone = RandColorJitterd(brightness=0, saturation=0, hue=0)
    assert [name for name, _ in alone.draw(np.random.default_rng(0), (1, 5, 5))["steps"]] == ["contrast"]


# ---- the input of DiRA's recipe --------------------------------------------------------------------------------------

SIDE, VIEWS = 64, 800


def independent(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """ColorJitter(.4, .4, .4, .1) with probability .8 and a blur of sigma .1 to 2 with .5, of a gray crop (1,Y,X)."""
    x = clean.astype(float)
    if rng.random() < 0.8:
        factors = {name: rng.uniform(0.6, 1.4) for name in NAMES[:2]}  # the other two leave gray as it is
        x = jittered(x, [[name, factors[name]] for name in rng.permutation(NAMES[:2])])
    if rng.random() < 0.5:
        x = ndimage.gaussian_filter(x, (0, *[rng.uniform(0.1, 2)] * 2), mode="nearest")
    return x


@pytest.mark.parametrize("name", ["dira_paper", "dira_repo", "contrastive_crop_paper_2d", "adco_multicrop_2d"])
def test_the_recipes_jitter_as_the_releases(name: str) -> None:
    jitter = load("pretrain", name, [])[0].views["intensity"][0]
    assert jitter == {"kind": "color_jitter", "prob": 0.8} | dict(zip(NAMES, (0.4, 0.4, 0.4, 0.1), strict=True))


def test_the_input_of_diras_recipe_is_as_far_from_its_target_as_with_an_independent_jitter() -> None:
    """Crop, flip and distortion are drawn once for both, so that what differs is jitter and blur alone."""
    recipe, _ = load("pretrain", "dira_paper", [f"views.size=[{SIDE},{SIDE}]", "views.count=1"])
    maker, policy = parts.views(recipe), random.build(scale=(0.2, 1.0))
    films = [xray(np.random.default_rng([seed, 7]), (128, 128))[0][None] for seed in range(16)]
    whole = Window((0, 0), films[0].shape[1:])
    case = Case("X-1", whole.size, (1.0, 1.0), 1, "DX", "xray", "p", "", (), False, ((0.0, 255.0),), whole)
    ours, theirs = [], []
    for seed in range(VIEWS):
        film, rng = films[seed % len(films)], np.random.default_rng(seed)
        drawn = maker._draw(film, case, 0, 0, policy, rng)
        view = maker._view(film, case, drawn)
        clean = maker._view(film, case, drawn._replace(changes=[None, None], corrupt=None)).x
        reference = independent(clean, np.random.default_rng([seed, 1])).astype(np.float32)
        reference = maker.preset.corrupt.apply(reference, drawn.corrupt)
        ours.append(np.square(view.x - view.target).mean())
        theirs.append(np.square(reference - view.target).mean())
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.03)
