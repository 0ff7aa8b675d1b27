"""Presets: the promises of each modality, a recipe's changes, and typing errors that are caught."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.kinds import kinds as kinds_of
from medssl.transforms import RandBezierIntensityd, RandGammad
from medssl.transforms.modality import PRESETS, preset
from medssl.transforms.resampling.warp import draw_warp
from medssl.types import InputError, Window


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def kinds(name: str, n: int = 2) -> set[str]:
    return {type(t).__name__ for t in preset(name, n).intensity}


def test_promises_of_the_modalities() -> None:
    assert preset("xray", 2).warp.flip == (0.0, 0.0)
    assert preset("xray", 2).warp.rotate == (7,)
    pathology = preset("pathology", 2).warp
    assert pathology.turn
    assert pathology.rotate == (180,)
    assert pathology.flip == (0.5, 0.5)
    assert "RandStainJitterd" in kinds("pathology")
    assert "RandBiasFieldd" in kinds("mr", 3)
    assert "RandWindowJitterd" in kinds("ct", 3)
    for name in PRESETS:
        assert PRESETS[name].__doc__
        assert preset(name, 2).warp.fill == ("reflect" if name == "pathology" else "edge")
        for transform in preset(name, 2).intensity:
            if isinstance(transform, RandBezierIntensityd):
                assert transform.invert == 0  # what is bright stays bright
        if name != "pathology":
            assert preset(name, 3).warp.flip[0] == 0  # head and feet are not exchanged
            assert not preset(name, 3).warp.turn


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("corrupt", kinds_of("corrupt"))
def test_every_preset_keeps_shape_type_and_range(name, n, corrupt) -> None:
    rgb = name == "pathology"
    if rgb and n == 3:
        return
    made = preset(name, n, corrupt=corrupt)
    shape = (3 if rgb else 1, *(24, 20, 22)[:n])
    assert len(made.warp.flip) == n
    assert len(made.warp.rotate) == (1 if n == 2 else 3)
    rng = np.random.default_rng(0)
    x = rng.random(shape, dtype=np.float32)
    for transform in [*made.intensity, made.corrupt]:
        x = transform.apply(x, transform.draw(rng, shape))
        assert x.shape == shape
        assert x.dtype == np.float32
        assert 0 <= x.min()
        assert x.max() <= 1


def test_a_recipe_changes_single_settings() -> None:
    base, changed = preset("ct", 3), preset("ct", 3, warp={"flip": 0.2, "rotate": [5, 6, 7], "elastic": 1})
    assert changed.warp.flip == (0.2, 0.2, 0.2)
    assert changed.warp.rotate == (5.0, 6.0, 7.0)
    assert changed.warp.elastic == 1
    assert changed.warp.zoom == base.warp.zoom
    only = preset("ct", 3, intensity=[{"kind": "gamma", "prob": 0.25, "gamma": [0.9, 1.1]}])
    assert [type(t) for t in only.intensity] == [RandGammad]
    assert only.intensity[0].prob == 0.25
    assert preset("ct", 3, intensity=[]).intensity == []
    for nothing in (None, "none"):
        assert preset("ct", 3, corrupt=nothing).corrupt is None
    assert preset("mr", 2, corrupt={"kind": "mask", "block": 8, "ratio": 0.75}).corrupt.block == 8
    released = preset("ct", 3, corrupt="transvw", faithful=True).corrupt
    assert released.choices[0].blocks == 5


def test_every_kind_can_be_named() -> None:
    for kind in kinds_of("intensity"):
        assert preset("ct", 2, intensity=[{"kind": kind, "prob": 0.5}]).intensity[0].prob == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "xary"}, "did you mean 'xray'"),
        ({"warp": {"rotat": 5}}, "did you mean 'rotate'"),
        ({"warp": {"rotate": [5, 5]}}, "give a number from 0 to 180, or 3 of them"),
        ({"intensity": [{"kind": "gama"}]}, "did you mean 'gamma'"),
        ({"intensity": [{"kind": "gamma", "gamm": 1}]}, "did you mean 'gamma'"),
        ({"intensity": [{"prob": 1}]}, "has no `kind`"),
        ({"corrupt": "diira"}, "did you mean 'dira'"),
        ({"corrupt": {"kind": "mask", "ration": 0.5}}, "did you mean 'ratio'"),
        ({"corrupt": {"kind": "mask", "spatial_dims": 2}}, "spatial_dims is not known"),
        ({"intensity": [{"kind": ["gamma"]}]}, "is not known"),
        ({"intensity": [{"kind": "stain_match", "references": []}]}, "references is not known"),
    ],
)
def test_unknown_names_and_keys_are_refused_with_a_suggestion(change, said) -> None:
    with pytest.raises(InputError, match=said):
        preset(**{"name": "ct", "spatial_dims": 3, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"kind": "blur_noise", "sigma": [1, 0.5]},
            r"blur_noise: RandBlurNoised: sigma is \[1, 0.5\], give",
        ),
        ({"kind": "bias_field", "strength": -1}, "bias_field: RandBiasFieldd: strength is -1, give a number from 0"),
        ({"kind": "gamma", "gamma": [0.5]}, r"gamma: RandGammad: gamma is \[0.5\], give two numbers"),
        ({"kind": "gamma", "prob": "often"}, "prob is 'often', give a number from 0 to 1"),
        ({"kind": "stain_jitter", "stains": "macenk"}, "stains is 'macenk', give hed or macenko"),
        ({"kind": "window_jitter", "window": [-160, 240]}, "window_jitter: window is .* leave it out"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(change, said) -> None:
    with pytest.raises(InputError, match=f"intensity {said}" if said.startswith(change["kind"]) else said):
        preset("pathology", 2, intensity=[change])


def test_a_window_jitter_comes_first_and_once() -> None:
    for kinds_ in (["gamma", "window_jitter"], ["window_jitter", "window_jitter"]):
        with pytest.raises(InputError, match="give it once, and first in the list"):
            preset("ct", 2, intensity=[{"kind": kind} for kind in kinds_])
    assert preset("ct", 3).keep_unclipped
    assert not preset("mr", 3).keep_unclipped
    assert not preset("ct", 3, intensity=[]).keep_unclipped


@pytest.mark.parametrize(("n", "channels"), [(2, 1), (3, None), (3, 3)])
def test_stains_are_refused_where_images_are_not_rgb_in_2d(n, channels) -> None:
    with pytest.raises(InputError, match="RandStainJitterd needs RGB images in 2D"):
        preset("pathology", n, channels)
    assert preset("pathology", n, channels, intensity=[]).intensity == []


def test_elastic_of_pathology_is_a_part_of_the_view_whatever_a_pixel_measures() -> None:
    window, tiles = Window((0, 0), (256, 256)), preset("pathology", 2)
    assert tiles.moves(window, (1.0, 1.0)).elastic == pytest.approx(5, abs=0.2)
    for mm in (0.00025, 0.0005, 1.0):
        drawn = [draw_warp(rng(s), window, (64, 64), (mm, mm), tiles.moves(window, (mm, mm)))[0] for s in range(40)]
        pixels = [np.sqrt((w.control**2).sum(0)).mean() for w in drawn]
        assert max(pixels) < 6
        assert np.mean(pixels) == pytest.approx(2.5, abs=0.6)
    assert preset("pathology", 2, warp={"elastic": 0.003}).moves(window, (0.0005, 0.0005)).elastic == 0.003
    assert preset("ct", 2).moves(window, (0.5, 0.5)).elastic == 3
