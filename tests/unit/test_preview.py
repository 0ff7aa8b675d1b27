from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from matplotlib.patches import Rectangle

from medssl import views
from medssl.crop import contrastive, random
from medssl.data.phantom import phantom_cache
from medssl.engine import checkpoint
from medssl.recipe import load
from medssl.report.captions import under
from medssl.report.figures import contact_sheet
from medssl.report.panels import BOX, COLOURS
from medssl.run import build
from medssl.run.preview import _heat, preview
from medssl.run.refresh import Wholes, refresh
from medssl.types import InputError, Maps


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    return {
        "ct": phantom_cache(folder / "ct", 3, (24, 32, 32), 0, "ct"),
        "xray": phantom_cache(folder / "xray", 3, (64, 60), 0, "xray"),
        "pathology": phantom_cache(folder / "pathology", 3, (64, 64), 0, "pathology"),
    }


def data(cache, preset, size, policy=None, **arguments):
    maker = views.build(spatial_dims=len(size), size=size, preset=preset, **arguments)
    return views.ViewsDataset(cache, cache.ids, maker, policy or random.build(), 0)


def outlines(axes, colour):
    found = [p for p in axes.patches if isinstance(p, Rectangle)]
    return [p for p in found if p.get_edgecolor()[:3] == pytest.approx(to_rgb(colour), abs=1e-6)]


def to_rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def panels(figure):
    """Axes with an image, without the bar of the legend; row by row."""
    found = [a for a in figure.axes if a.images and a.images[0].get_array().shape[0] > 1]
    return sorted(found, key=lambda a: (-round(a.get_position().y0, 4), a.get_position().x0))


@pytest.mark.parametrize(
    ("preset", "size", "rows"), [("ct", [16, 16, 16], 3), ("xray", [32, 32], 1), ("pathology", [32, 32], 1)]
)
def test_every_sample_has_source_target_input_and_difference(caches, preset, size, rows):
    figure = contact_sheet(data(caches[preset], preset, size), [0, 2])
    assert len(panels(figure)) == 2 * rows * (1 + 2 * 3)


def test_further_views_are_shown_as_input_alone(caches):
    figure = contact_sheet(data(caches["xray"], "xray", [32, 32], count=4), [0])
    assert len(panels(figure)) == 1 + 2 * 3 + 2


def test_pictures_are_what_training_sees(caches):
    found = data(caches["xray"], "xray", [32, 32])
    _, target, x, difference, *_ = panels(contact_sheet(found, [1], epoch=2))
    view = found[2, 1].views[0]
    for axes, expected in ((target, view.target), (x, view.x), (difference, view.x - view.target)):
        np.testing.assert_allclose(axes.images[0].get_array(), expected[0], atol=1e-6)


def test_windows_are_drawn_around_their_voxels(caches):
    found = data(caches["xray"], "xray", [32, 32])
    source, *_ = panels(contact_sheet(found, [0]))
    for view, colour in zip(found[0, 0].views, COLOURS, strict=False):
        (outline,) = outlines(source, colour)
        (y, x), (height, width) = view.window
        assert (outline.get_x(), outline.get_y()) == (x - 0.5, y - 0.5)
        assert (outline.get_width(), outline.get_height()) == (width, height)


def test_windows_beyond_the_shown_slice_are_dashed(caches):
    found = data(caches["ct"], "ct", [16, 16, 16])
    shape = caches["ct"].cases[found.ids[0]].shape
    sources = panels(contact_sheet(found, [0]))[::7]
    for axis, axes in enumerate(sources):
        for view, colour in zip(found[0, 0].views, COLOURS, strict=False):
            (outline,) = outlines(axes, colour)
            start, size = view.window.start[axis], view.window.size[axis]
            assert (outline.get_linestyle() in ("-", "solid")) == (start <= shape[axis] // 2 < start + size)


def test_volumes_are_shown_head_up_and_right_on_the_left(caches):
    for axes in panels(contact_sheet(data(caches["ct"], "ct", [16, 16, 16]), [0])):
        assert axes.xaxis_inverted()
        assert not axes.yaxis_inverted()


def test_heat_map_and_box_are_drawn_where_they_are(caches):
    cache = caches["xray"]
    policy = contrastive.build(samples=3, spatial_dims=2, steps=10, min_side=0.0)
    heat = torch.zeros(8, 8)
    heat[2, 5] = 1
    policy.refresh([Maps(torch.arange(3), heat.expand(3, 8, 8))])
    figure = contact_sheet(data(cache, "xray", [32, 32], policy), [0], heat={0: heat})
    source, overlaid, *_ = panels(figure)
    low, high = policy.boxes[0].reshape(2, 2).numpy() * cache.cases[cache.ids[0]].shape
    for axes in (source, overlaid):
        (outline,) = outlines(axes, BOX)
        assert (outline.get_y(), outline.get_x()) == pytest.approx(tuple(low - 0.5))
        assert (outline.get_height(), outline.get_width()) == pytest.approx(tuple(high - low))
    shown, over = overlaid.images
    assert over.get_extent() == shown.get_extent()
    peak = np.unravel_index(np.argmax(over.get_array()), over.get_array().shape)
    assert [p // 32 for p in peak] == [2, 5]


def test_captions_say_what_was_drawn(caches):
    found = data(caches["xray"], "xray", [32, 32], corrupt={"kind": "mask", "ratio": 0.5}, intensity=[])
    view = found[0, 0].views[0]
    height, width = view.window.size
    assert under("target", view, None).startswith(f"window {height}×{width}, rotate ")
    assert under("input", view, None) == "intensity unchanged"
    assert under("input − target", view, found.maker.preset.corrupt) == "mask blocks, 50% of the\npixels"


# The verb


RECIPE = ["phantom_tiny", ["data.phantom.cases=4", "data.phantom.size=[24, 32, 32]", "views.size=[16, 16, 16]"]]


def test_the_verb_writes_the_sheet_of_a_recipe(tmp_path, capsys):
    preview(*load("pretrain", *RECIPE), tmp_path / "new" / "views.png")
    assert (tmp_path / "new" / "views.png").read_bytes()[:4] == b"\x89PNG"
    assert "3 of 3 training samples" in capsys.readouterr().out


def test_with_init_it_shows_boxes(tmp_path, capsys):
    recipe, _ = load("pretrain", *RECIPE)
    encoder = build.encoder(recipe)
    weights = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    checkpoint.save(tmp_path / "last.pt", {"format": 1, "verb": "pretrain", "weights": weights, "state": {"step": 7}})
    recipe, options = load("pretrain", RECIPE[0], [*RECIPE[1], f"init={tmp_path / 'last.pt'}"])
    preview(recipe, options, tmp_path / "views.svg")
    assert "box that holds" in (tmp_path / "views.svg").read_text()
    assert "pretrain, step 7" in capsys.readouterr().out


def test_its_boxes_are_those_of_a_refresh(tmp_path, caches):
    recipe, _ = load("pretrain", *RECIPE)
    weights = {f"encoder.{name}": tensor for name, tensor in build.encoder(recipe).state_dict().items()}
    checkpoint.save(tmp_path / "last.pt", {"format": 1, "verb": "pretrain", "weights": weights, "state": {"step": 7}})
    recipe, options = load("pretrain", RECIPE[0], [*RECIPE[1], f"init={tmp_path / 'last.pt'}"])
    shown, trained = (data(caches["ct"], "ct", [16] * 3, build.crop(recipe, 3)) for _ in range(2))
    _heat(recipe, options, shown, [0, 2])
    encoder = build.encoder(recipe)
    encoder.load_state_dict({name.removeprefix("encoder."): tensor for name, tensor in weights.items()})
    wholes = Wholes(caches["ct"], trained.ids, trained.maker, (16, 16, 16))
    refresh(Fabric(accelerator="cpu", devices=1), encoder, trained.policy, wholes, batch=1, workers=0)
    assert torch.equal(shown.policy.boxes[[0, 2]], trained.policy.boxes[[0, 2]])


def test_other_suffixes_are_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"views\.txt is no picture"):
        preview(*load("pretrain", *RECIPE), tmp_path / "views.txt")
