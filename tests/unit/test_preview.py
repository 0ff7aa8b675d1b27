from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from matplotlib.colors import to_rgb

from medssl import view_dataset, views
from medssl.build import parts
from medssl.crop import contrastive, random
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint
from medssl.pretraining.crop_refresh import FullVolumes, refresh
from medssl.pretraining.preview import _heat, preview
from medssl.recipe import load
from medssl.report import restored
from medssl.report.captions import sample, under
from medssl.report.figures import contact_sheet
from medssl.report.panels import BOX, COLOURS, strongest
from medssl.report.view_geometry import geometry, inverse, most_changed_slice, position
from medssl.transforms.resampling.warp import draw_warp, warp
from medssl.types import InputError, Maps, Window


def renew(policy, maps, size=None, foreground=None):
    """Give a policy new boxes, as one rank does."""
    policy.set_boxes(*policy.boxes_of(maps, size, foreground))


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
    return view_dataset.ViewsDataset(cache, cache.ids, maker, policy or random.build(), 0)


def outlines(axes, colour, label):
    found = [line for line in axes.lines if line.get_label().startswith(label)]
    assert all(to_rgb(line.get_color()) == to_rgb(colour) for line in found)
    return found


def words(figure):
    return [text.get_text() for text in figure.texts]


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
    for axes, expected in ((target, view.target), (x, view.seen), (difference, view.seen - view.target)):
        np.testing.assert_allclose(axes.images[0].get_array(), expected[0], atol=1e-6)


def test_frames_go_around_what_the_view_shows(caches):
    found = data(caches["xray"], "xray", [32, 32], warp={"rotate": 25, "elastic": 6})
    source, *_ = panels(contact_sheet(found, [0]))
    case = caches["xray"].cases[found.ids[0]]
    for number, view in enumerate(found[0, 0].views):
        (outline,) = outlines(source, COLOURS[number], f"view {number + 1}")
        index = inverse(geometry(view, case).map, np.stack([outline.get_ydata(), outline.get_xdata()]))
        at_rim = np.abs(np.minimum(index + 0.5, 31.5 - index).min(0))
        assert at_rim.max() < 0.2  # voxels of the view
        assert np.abs(index).max() > 30  # all the way around
        left, right = source.get_xlim()
        assert left <= outline.get_xdata().min() < outline.get_xdata().max() <= right


def test_a_view_that_is_only_flipped_has_its_window_as_frame(caches):
    found = data(caches["xray"], "xray", [32, 32], warp={"rotate": 0, "elastic": 0, "zoom": 0, "flip": 1.0})
    source, *_ = panels(contact_sheet(found, [0]))
    for number, view in enumerate(found[0, 0].views):
        (outline,) = outlines(source, COLOURS[number], f"view {number + 1}")
        for at, start, size in zip((outline.get_ydata(), outline.get_xdata()), *view.window, strict=True):
            assert (at.min(), at.max()) == pytest.approx((start - 0.5, start + size - 0.5), abs=0.05)


@pytest.mark.parametrize(("preset", "shape"), [("xray", (30, 26)), ("ct", (12, 14, 16))])
def test_positions_are_those_that_the_warp_samples(preset, shape):
    source = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"))
    maker = views.build(spatial_dims=len(shape), size=[9, 8, 7][: len(shape)], preset=preset, warp={"zoom": 0.3})
    window, spacing = Window((4,) * len(shape), (6,) * len(shape)), (2.0, 1.0, 1.5)[: len(shape)]
    map_, _ = draw_warp(np.random.default_rng(0), window, maker.sizes[0], spacing, maker.preset.warp)
    index = np.indices(map_.size).reshape(len(shape), -1).astype(float)
    at = position(map_, index)
    inside = ((at > 0) & (at < np.reshape(shape, (-1, 1)) - 1)).all(0)
    np.testing.assert_allclose(at[:, inside], warp(source, map_).reshape(len(shape), -1)[:, inside], atol=1e-4)
    np.testing.assert_allclose(inverse(map_, at), index, atol=0.01)


def test_slices_go_through_the_corruption_and_the_source_is_cut_with_the_first_view(caches):
    found = data(caches["ct"], "ct", [16, 16, 16], corrupt="transvw", intensity=[], warp={"rotate": 0, "elastic": 0})
    seen = set()
    for number in range(3):
        sheet = panels(contact_sheet(found, [number]))
        for axis in range(3):
            source, *of_view = sheet[axis * 7 : axis * 7 + 4]
            view = found[0, number].views[0]
            cut = geometry(view, caches["ct"].cases[found.ids[number]]).cuts[axis]
            np.testing.assert_allclose(of_view[0].images[0].get_array(), view.target[0].take(cut, axis), atol=1e-6)
            share = view.mask[0].take(cut, axis).mean()
            assert share > 0
            seen.add(share < 1)
            scale = view.window.size[axis] / 16 / view.drawn["warp"]["zoom"]
            middle = view.window.start[axis] + view.window.size[axis] / 2
            expected = np.floor(middle + (cut + 0.5 - 8) * scale)
            shape = caches["ct"].cases[found.ids[number]].shape
            said, of = source.texts[0].get_text().split("/")
            assert int(of) == shape[axis]
            assert abs(int(said) - 1 - np.clip(expected, 0, shape[axis] - 1)) <= 1
    assert True in seen


def test_a_small_corruption_off_the_middle_is_found():
    change, mask = np.full((1, 20, 20, 20), 0.1), np.zeros((1, 20, 20, 20), bool)
    mask[0, 2:4, 15:19, 8:12] = True
    z, y, x = most_changed_slice(change, mask)
    assert mask[0, z, y, x]
    assert (
        most_changed_slice(change, np.zeros_like(mask))
        == most_changed_slice(change, np.ones_like(mask))
        == (10, 10, 10)
    )
    windows = ~mask  # all noise but one window
    assert not windows[0, most_changed_slice(change, windows)[0], 15:19, 8:12].any()


def test_views_beyond_the_shown_slice_are_dashed(caches):
    found = data(caches["ct"], "ct", [16, 16, 16], random.build(scale=(0.1, 0.2)), warp={"rotate": 0, "elastic": 0})
    styles = set()
    for number in range(3):
        sheet = panels(contact_sheet(found, [number]))
        for axis, source in enumerate(sheet[::7]):
            at = int(source.texts[0].get_text().split("/")[0]) - 1
            for of, view in enumerate(found[0, number].views):
                (outline,) = outlines(source, COLOURS[of], f"view {of + 1}")
                middle, zoom = view.window.start[axis] + view.window.size[axis] / 2 - 0.5, view.drawn["warp"]["zoom"]
                meets = abs(at - middle) < view.window.size[axis] / 2 / zoom
                assert (outline.get_linestyle() == "-") == meets
                assert bool(outlines(source, COLOURS[of], f"cut {of + 1}")) <= meets
                styles.add(meets)
    assert styles == {True, False}


def test_volumes_are_shown_head_up_and_right_on_the_left(caches):
    for axes in panels(contact_sheet(data(caches["ct"], "ct", [16, 16, 16]), [0])):
        assert axes.xaxis_inverted()
        assert not axes.yaxis_inverted()


def test_heat_map_and_box_are_drawn_where_they_are(caches):
    cache = caches["xray"]
    policy = contrastive.build(samples=3, spatial_dims=2, steps=10, min_side=0.0)
    heat = torch.zeros(8, 8)
    heat[2, 5] = 1
    renew(policy, [Maps(torch.arange(3), heat.expand(3, 8, 8))])
    figure = contact_sheet(data(cache, "xray", [32, 32], policy), [0], heat={0: heat})
    source, overlaid, *_ = panels(figure)
    low, high = policy.boxes[0].reshape(2, 2).numpy() * cache.cases[cache.ids[0]].shape
    for axes in (source, overlaid):
        (outline,) = outlines(axes, BOX, "box")
        corners = np.stack([outline.get_ydata(), outline.get_xdata()])
        np.testing.assert_allclose([corners.min(1), corners.max(1)], [low - 0.5, high - 0.5], atol=1e-5)
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


BLUR = {"sigma": 0.0, "std": 0.0, "seed": 1}


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("RandBlurNoised", BLUR, "intensity unchanged"),
        ("RandBlurNoised", {**BLUR, "sigma": 0.4}, "blur"),
        ("RandBlurNoised", {**BLUR, "std": 0.1}, "noise"),
        ("RandBlurNoised", {**BLUR, "sigma": 0.4, "std": 0.1}, "blur, noise"),
        ("RandWindowJitterd", {"low": 0.0, "high": 1.0}, "intensity unchanged"),
        ("RandWindowJitterd", {"low": 0.1, "high": 1.0}, "window jitter"),
        ("RandBezierIntensityd", {"points": [], "invert": True}, "tone curve, inverted"),
        ("RandGammad 2", {"gamma": 1.2}, "gamma"),
        ("RandGammad", None, "intensity unchanged"),
    ],
)
def test_captions_say_nothing_that_did_not_happen(caches, name, params, said):
    view = data(caches["xray"], "xray", [32, 32])[0, 0].views[0]
    assert under("input", view._replace(drawn={"warp": view.drawn["warp"], name: params}), None) == said


@pytest.mark.parametrize("inverted", [True, False])
def test_a_tone_curve_as_corruption_says_whether_it_inverts(caches, inverted):
    found = data(caches["ct"], "ct", [16, 16, 16], corrupt="transvw")
    view = found[0, 0].views[0]
    drawn = {"choice": 1, "params": {"points": [[0.2, 0.3], [0.6, 0.7]], "invert": inverted}}
    view = view._replace(drawn={**view.drawn, "corrupt": drawn}, mask=np.ones_like(view.mask))
    said = under("input − target", view, found.maker.preset.corrupt).replace("\n", " ")
    assert said == f"tone curve, {'' if inverted else 'not '}inverted, 100% of the voxels"


def test_a_spacing_that_no_one_knows_is_not_claimed(caches):
    case = caches["xray"].cases[caches["xray"].ids[0]]
    assert sample(case).endswith(" pixels of 1 × 1 mm")
    assert sample(case._replace(spacing_known=False)).endswith(" pixels, spacing unknown")


def test_a_change_of_colour_alone_is_seen():
    difference = np.zeros((3, 4, 4), np.float32)
    difference[:, 1, 2] = 0.3, -0.4, 0.1  # no brighter and no darker
    assert strongest(difference)[1, 2] == np.float32(-0.4)
    assert np.count_nonzero(strongest(difference)) == 1


def test_restored_volumes_are_cut_where_they_were_corrupted():
    target, mask = np.full((1, 9, 8, 8), 0.5, np.float32), np.zeros((1, 9, 8, 8), bool)
    mask[0, 7, :4, 2:5] = True
    seen = np.where(mask, np.float32(0), target)
    figure = restored.sheet([restored.Restored("a", seen, target, target, mask)])
    assert any(text.get_text() == "a   axial slice 8 of 9" for text in figure.texts)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), seen[0, 7, ::-1, ::-1])


def test_around_a_picture_is_neither_black_nor_white(caches):
    figure = contact_sheet(data(caches["xray"], "xray", [32, 24]), [0])
    assert all(0.2 < min(axes.get_facecolor()[:3]) and max(axes.get_facecolor()[:3]) < 0.96 for axes in figure.axes)


def test_the_head_gives_title_and_scale(caches):
    found = data(caches["pathology"], "pathology", [32, 32])
    said = words(contact_sheet(found, [0], title="mine", about="how"))
    assert {"mine", "how"} <= set(said)
    assert any("difference of 0.5 (images: 0..1), in the channel that changed most" in text for text in said)


# The verb


RECIPE = ["phantom_tiny", ["data.phantom.cases=4", "data.phantom.size=[24, 32, 32]", "views.size=[16, 16, 16]"]]


def test_the_verb_writes_the_sheet_of_a_recipe(tmp_path, said):
    preview(*load("pretrain", *RECIPE), tmp_path / "new" / "views.png")
    assert (tmp_path / "new" / "views.png").read_bytes()[:4] == b"\x89PNG"
    assert "3 of 3 training samples" in said()


def test_data_of_another_kind_is_refused_and_recipe_and_data_are_named(caches, tmp_path):
    overrides = [f"data.cache={caches['ct'].path}", "views.size=[16, 16, 16]"]
    with pytest.raises(InputError, match=r"views.preset is mr, but .* was prepared as ct: .* give views.preset=auto$"):
        preview(*load("pretrain", "phantom_tiny", [*overrides, "views.preset=mr"]), tmp_path / "views.svg")
    with pytest.raises(InputError, match=r"give (views.preset=auto views.intensity=null views.warp=null)$") as told:
        preview(*load("pretrain", "dira_adco_ccrop_tiny_3d", overrides), tmp_path / "views.svg")
    words = str(told.value).split(" give ")[1].split()
    preview(*load("pretrain", "dira_adco_ccrop_tiny_3d", [*overrides, *words]), tmp_path / "views.svg")
    preview(*load("pretrain", "phantom_tiny", overrides), tmp_path / "views.svg", "phantom_tiny")
    drawn = (tmp_path / "views.svg").read_text()
    assert "phantom_tiny on ct" in drawn
    assert str(caches["ct"].path.parent) not in drawn


def test_with_init_it_shows_boxes(tmp_path, said):
    recipe, _ = load("pretrain", *RECIPE)
    encoder = parts.encoder(recipe)
    weights = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    checkpoint.save(tmp_path / "last.pt", {"format": 1, "verb": "pretrain", "weights": weights, "state": {"step": 7}})
    recipe, options = load("pretrain", RECIPE[0], [*RECIPE[1], f"init={tmp_path / 'last.pt'}"])
    preview(recipe, options, tmp_path / "views.svg")
    assert "box of the crop centres" in (tmp_path / "views.svg").read_text()
    assert "pretrain, step 7" in said()


def test_its_boxes_are_those_of_a_refresh(tmp_path, caches):
    recipe, _ = load("pretrain", *RECIPE)
    weights = {f"encoder.{name}": tensor for name, tensor in parts.encoder(recipe).state_dict().items()}
    checkpoint.save(tmp_path / "last.pt", {"format": 1, "verb": "pretrain", "weights": weights, "state": {"step": 7}})
    recipe, options = load("pretrain", RECIPE[0], [*RECIPE[1], f"init={tmp_path / 'last.pt'}"])
    shown, trained = (data(caches["ct"], "ct", [16] * 3, parts.crop(recipe, 3)) for _ in range(2))
    _heat(recipe, options, shown, [0, 2])
    encoder = parts.encoder(recipe)
    encoder.load_state_dict({name.removeprefix("encoder."): tensor for name, tensor in weights.items()})
    wholes = FullVolumes(caches["ct"], trained.ids, trained.maker, (16, 16, 16))
    refresh(Fabric(accelerator="cpu", devices=1), encoder, trained.policy, wholes, batch=1, workers=0)
    assert torch.equal(shown.policy.boxes[[0, 2]], trained.policy.boxes[[0, 2]])


def test_other_suffixes_are_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"views\.txt is not an image file"):
        preview(*load("pretrain", *RECIPE), tmp_path / "views.txt")
