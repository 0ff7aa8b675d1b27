"""Presets: the promises of each modality, a recipe's changes, and typing errors that are caught."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.transforms.intensity import RandBezierIntensityd, RandGammad
from medssl.transforms.modality import CORRUPT, INTENSITY, PRESETS, preset
from medssl.types import InputError


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
@pytest.mark.parametrize("corrupt", sorted(CORRUPT))
def test_every_preset_keeps_shape_type_and_range(name, n, corrupt) -> None:
    made = preset(name, n, corrupt=corrupt)
    rgb = name == "pathology"
    if rgb and n == 3:
        return
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
    for kind in INTENSITY:
        assert preset("ct", 2, intensity=[{"kind": kind, "prob": 0.5}]).intensity[0].prob == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "xary"}, "did you mean xray"),
        ({"warp": {"rotat": 5}}, "did you mean rotate"),
        ({"warp": {"rotate": [5, 5]}}, "give a number from 0 to 180, or 3 of them"),
        ({"intensity": [{"kind": "gama"}]}, "did you mean gamma"),
        ({"intensity": [{"kind": "gamma", "gamm": 1}]}, "did you mean gamma"),
        ({"intensity": [{"prob": 1}]}, "has no kind"),
        ({"corrupt": "diira"}, "did you mean dira"),
        ({"corrupt": {"kind": "mask", "ration": 0.5}}, "did you mean ratio"),
        ({"corrupt": {"kind": "mask", "spatial_dims": 2}}, "spatial_dims is not known"),
    ],
)
def test_unknown_names_and_keys_are_refused_with_a_suggestion(change, said) -> None:
    with pytest.raises(InputError, match=said):
        preset(**{"name": "ct", "spatial_dims": 3, **change})
