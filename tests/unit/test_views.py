from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from medssl import view_dataset, views
from medssl.crop import contrastive, random
from medssl.data.cache import Case
from medssl.data.phantom.cases import phantom_cache
from medssl.transforms.modality import preset
from medssl.transforms.resampling.warp import compose, draw_warp, warp
from medssl.types import InputError, Window

PLAIN = {"intensity": [], "corrupt": None, "warp": {"flip": 0, "rotate": 0, "zoom": 0, "elastic": 0}}


def rng(seed=0):
    return np.random.default_rng(seed)


def case(array, spacing=None, values=((0.0, 1.0),), name="XX-1"):
    shape = array.shape[1:]
    window = Window((0,) * len(shape), shape)
    spacing = spacing or (1.0,) * len(shape)
    return Case(name, shape, spacing, len(array), "OT", "ct", "p", "train", (), False, values, window)


class Fixed:
    """The policy that always looks at one window."""

    def __init__(self, start, size):
        self.found = Window(start, size)

    def window(self, shape, index, rng, spacing=None, view=0):
        return self.found


def make(array, policy=None, seed=0, values=((0.0, 1.0),), **arguments):
    maker = views.build(spatial_dims=array.ndim - 1, **{"size": [16] * (array.ndim - 1), **arguments})
    return maker(array, case(array, values=values), 0, policy or random.build(), rng(seed))


def texture(*shape, channels=1):
    return rng(9).random((channels, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return phantom_cache(tmp_path_factory.mktemp("cache"), 4, (24, 32, 32), 0, "ct")


# Geometry, order, target


@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 28)])
def test_without_draws_a_view_is_the_resized_window(shape):
    ramp = np.linspace(0, 1, shape[-1], dtype=np.float32) * np.ones((1, *shape), np.float32)
    start, side = (2,) * len(shape), (15,) * len(shape)
    view = make(ramp, Fixed(start, side), size=[30] * len(shape), **PLAIN)[0]
    where = 2 + (np.arange(30) + 0.5) * 15 / 30 - 0.5
    np.testing.assert_allclose(view.x[(0,) * len(shape)], where / (shape[-1] - 1), atol=1e-5)
    assert view.window == (start, side)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 28)])
def test_input_and_target_are_equal_when_nothing_is_drawn(shape, faithful):
    for view in make(texture(*shape), faithful=faithful, **PLAIN):
        assert np.array_equal(view.x, view.target)
        assert not view.mask.any()


@pytest.mark.parametrize("preset", ["ct", "mr", "pet", "xray", "ultrasound"])
@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 28)])
def test_geometry_reaches_the_target_so_that_only_intensity_differs(preset, shape):
    """With every intensity change and corruption off, whatever the warp drew, input and target stay one image."""
    for view in make(texture(*shape), preset=preset, intensity=[], corrupt=None, seed=3):
        assert view.drawn["warp"]["zoom"] != 1
        assert np.array_equal(view.x, view.target)


def test_a_flip_moves_input_and_target_but_faithful_only_the_input():
    image, flip = texture(40, 40), {**PLAIN["warp"], "flip": [0.0, 1.0]}
    plain = make(image, Fixed((3, 5), (20, 24)), **PLAIN)[0]
    ours = make(image, Fixed((3, 5), (20, 24)), **{**PLAIN, "warp": flip})[0]
    published = make(image, Fixed((3, 5), (20, 24)), faithful=True, **{**PLAIN, "warp": flip})[0]
    np.testing.assert_allclose(ours.target, plain.x[..., ::-1], atol=1e-5)
    np.testing.assert_allclose(ours.x, ours.target, atol=0)
    np.testing.assert_allclose(published.target, plain.x, atol=0)
    np.testing.assert_allclose(published.x, plain.x[..., ::-1], atol=1e-5)


def test_faithful_2d_flips_half_of_the_inputs_and_nothing_else():
    image = texture(40, 40)
    same = flipped = 0
    for seed in range(60):
        for view in make(image, seed=seed, faithful=True, preset="xray", intensity=[]):
            same += view.drawn["warp"]["flip"] == [False, False]
            flipped += view.drawn["warp"]["flip"] == [False, True]
            assert view.drawn["warp"]["zoom"] == 1
            assert view.drawn["warp"]["angles"] == [0.0]
            assert view.drawn["warp"]["elastic"] is None
    assert same + flipped == 120
    assert abs(flipped - 60) < 4 * np.sqrt(120 / 4)


def test_faithful_3d_restores_the_elastic_warp():
    image = texture(24, 24, 24)
    view = make(image, Fixed((2, 2, 2), (20, 20, 20)), faithful=True)[0]
    plain = make(image, Fixed((2, 2, 2), (20, 20, 20)), **PLAIN)[0]
    assert np.array_equal(view.target, plain.target)
    assert view.drawn["warp"]["elastic_mm"] > 1
    assert not np.array_equal(view.x, view.target)


@pytest.mark.parametrize("corrupt", ["dira", "transvw", "genesis", "mask"])
@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 28)])
def test_input_differs_from_target_only_where_the_mask_says(corrupt, shape):
    changed = 0
    for seed in range(12):
        for view in make(texture(*shape), seed=seed, intensity=[], corrupt=corrupt, corrupt_for="all"):
            outside = ~np.broadcast_to(view.mask, view.x.shape)
            assert np.array_equal(view.x[outside], view.target[outside])
            changed += not np.array_equal(view.x, view.target)
    assert changed > 6


@pytest.mark.parametrize("corrupt", ["dira", "transvw", "genesis", "mask"])
@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 28)])
def test_a_corruption_for_restoration_leaves_the_views_as_they_are_without_it(corrupt, shape):
    changed = 0
    for seed in range(12):
        first, second = make(texture(*shape), seed=seed, corrupt=corrupt, corrupt_for="restore")
        plain = make(texture(*shape), seed=seed, corrupt=None)
        for view, without in zip((first, second), plain, strict=True):
            assert np.array_equal(view.x, without.x)
            assert np.array_equal(view.target, without.target)
        assert first.corrupted is not None
        outside = ~np.broadcast_to(first.mask, first.x.shape)
        assert np.array_equal(first.seen[outside], first.x[outside])
        assert second.seen is second.x
        assert not second.mask.any()
        changed += not np.array_equal(first.seen, first.x)
    assert changed > 3


@pytest.mark.parametrize("faithful", [False, True])
def test_the_published_order_corrupts_every_view_in_the_order_of_its_draws(faithful):
    image, changes = texture(40, 50), [{"kind": "gamma", "prob": 1.0}]
    order = {"faithful": True} if faithful else {"corrupt_for": "all"}
    found = make(image, intensity=changes, seed=4, **order)
    maker, source, stream = views.build(spatial_dims=2, size=[16, 16], intensity=changes, **order), case(image), rng(4)
    for view in found:
        window = random.build().window(source.shape, 0, stream, source.spacing)
        map_, _ = draw_warp(stream, window, (16, 16), source.spacing, maker.preset.moves(window, source.spacing))
        steps = [*maker.preset.intensity, maker.preset.corrupt]
        drawn = [step.draw(stream, (1, 16, 16)) for step in steps]
        x = warp(image, map_, average=True)
        for step, params in zip(steps, drawn, strict=True):
            x = step.apply(x, params)
        assert np.array_equal(view.x, x)
        assert view.corrupted is None
    assert any(view.mask.any() for view in found)


def test_without_restoration_nothing_is_corrupted_unless_every_view_is_to_be():
    assert views.build(spatial_dims=2, size=[16, 16], restores=False).preset.corrupt is None
    every = views.build(spatial_dims=2, size=[16, 16], restores=False, corrupt_for="all")
    assert every.preset.corrupt is not None


def test_intensity_changes_never_touch_the_target():
    image = texture(40, 40)
    for seed in range(5):
        loud = make(image, Fixed((0, 0), (40, 40)), preset="xray", seed=seed, warp=PLAIN["warp"])
        plain = make(image, Fixed((0, 0), (40, 40)), **PLAIN)
        assert np.array_equal(loud[0].target, plain[0].target)


def test_what_was_drawn_makes_the_view_again_even_where_a_kind_comes_twice():
    image = texture(40, 40)
    twice = [{"kind": "gamma"}, {"kind": "blur_noise"}, {"kind": "gamma", "gamma": (2.0, 3.0)}]
    view = make(image, intensity=twice, corrupt="dira", corrupt_for="all", seed=1)[0]
    assert list(view.drawn) == ["warp", "RandGammad", "RandBlurNoised", "RandGammad 3", "corrupt"]
    made = preset("ct", 2, intensity=twice)
    x = warp(image, compose(view.window, (16, 16), (1.0, 1.0), **view.drawn["warp"]), average=True)
    for transform, params in zip([*made.intensity, made.corrupt], list(view.drawn.values())[1:], strict=True):
        x = transform.apply(x, params)
    np.testing.assert_array_equal(x, view.x)


# Values


def test_stored_values_are_scaled_clipped_and_never_wrapped():
    hounsfield = np.array([-32768, -1000, 0, 500, 1000, 32767], np.int16)
    image = np.broadcast_to(hounsfield, (1, 6, 6)).copy()
    view = make(image, Fixed((0, 0), (6, 6)), size=[6, 6], values=((-1000.0, 1000.0),), preset="ct")[0]
    assert view.target.dtype == np.float32
    maker = views.build(spatial_dims=2, size=[6, 6])
    whole = maker.whole(image, case(image, values=((-1000.0, 1000.0),)), (6, 6))
    np.testing.assert_allclose(whole[0, 0], [0, 0, 0.5, 0.75, 1, 1], atol=1e-6)


HU = np.array([[-1000, -200, -160, 40, 240, 250, 270, 600]] * 8, np.int16)[None]


def through(**moved):
    """What a view shows of HU, prepared with -160 to 240, when the window jitter draws `moved`; and its target."""
    maker = views.build(spatial_dims=2, size=[8, 8], **{**PLAIN, "intensity": [{"kind": "window_jitter"}]})
    maker.preset.intensity[0].draw = lambda rng, shape: moved
    view = maker(HU, case(HU, values=((-160.0, 240.0),)), 0, Fixed((0, 0), (8, 8)), rng())[0]
    return view.x[0, 0], view.target[0, 0]


def test_a_wider_window_shows_the_tissue_that_the_prepared_one_cuts():
    seen, target = through(low=(-193 + 160) / 400, high=(277 + 160) / 400)
    np.testing.assert_allclose(seen, np.clip((HU[0, 0] + 193) / 470, 0, 1), atol=1e-5)
    np.testing.assert_allclose(seen[[1, 5, 6, 7]], [0, 0.943, 0.986, 1], atol=1e-3)
    np.testing.assert_allclose(target, [0, 0, 0, 0.5, 1, 1, 1, 1], atol=1e-6)


def test_a_window_that_does_not_move_shows_the_target():
    seen, target = through(low=0.0, high=1.0)
    np.testing.assert_array_equal(seen, target)


def test_each_channel_has_its_own_range():
    image = np.stack([np.full((8, 8), 5, np.int16), np.full((8, 8), 5, np.int16)])
    whole = views.build(spatial_dims=2, size=[4, 4]).whole(image, case(image, None, ((0, 10), (0, 20))), (4, 4))
    assert whole[:, 0, 0].tolist() == [0.5, 0.25]


def test_a_constant_image_stays_constant():
    image = np.full((1, 20, 20, 20), 7, np.int16)
    for view in make(image, values=((7.0, 7.0),)):
        assert np.array_equal(view.target, np.zeros((1, 16, 16, 16)))


def test_nan_is_refused_naming_the_case():
    image = texture(20, 20)
    image[0, 10, 10] = np.nan
    with pytest.raises(InputError, match="case XX-1 holds values that are NaN"):
        make(image, Fixed((0, 0), (20, 20)), **PLAIN)


def test_large_steps_average_instead_of_aliasing():
    board = (np.indices((64, 64)).sum(0) % 2)[None].astype(np.uint8)
    whole = views.build(spatial_dims=2, size=[16, 16]).whole(board, case(board), (16, 16))
    np.testing.assert_allclose(whole, 0.5, atol=1e-6)


def test_whole_draws_nothing_and_shows_everything():
    image = texture(16, 20, 24)
    maker = views.build(spatial_dims=3, size=[8, 8, 8])
    np.testing.assert_allclose(maker.whole(image, case(image), image.shape[1:]), image, atol=1e-6)


# Shapes


def test_a_volume_smaller_than_the_view_is_enlarged():
    view = make(texture(5, 6, 7), size=[12, 12, 12])[0]
    assert view.x.shape == (1, 12, 12, 12)
    assert np.isfinite(view.x).all()


def test_a_volume_of_one_slice_gives_views_of_equal_slices():
    """Nothing is known beyond the slice, so the view repeats it; windows are drawn in plane."""
    view = make(texture(1, 40, 40), size=[4, 16, 16], warp={"elastic": 0, "rotate": 0}, corrupt=None)[0]
    assert view.window.size[0] == 1
    assert view.window.size[1] > 1
    assert all(np.allclose(view.target[:, z], view.target[:, 0]) for z in range(4))


def test_a_list_of_sizes_gives_one_view_each():
    found = make(texture(60, 60), size=[[32, 32], [16, 24], [8, 8]], count=3)
    assert [v.x.shape for v in found] == [(1, 32, 32), (1, 16, 24), (1, 8, 8)]


def test_each_view_takes_its_own_range_of_scales():
    """AdCo's multi-crop: smaller views look at smaller parts."""
    scales = [(0.9, 1.0), (0.3, 0.5), (0.05, 0.1)]
    boxes = contrastive.build(samples=1, spatial_dims=2, steps=9, scale=scales, ratio=(1.0, 1.0))
    boxes.set_boxes(torch.zeros(1, dtype=torch.int64), torch.tensor([[0.25, 0.25, 0.5, 0.5]]))
    for policy in (random.build(scale=scales, ratio=(1.0, 1.0)), boxes):
        for seed in range(20):
            found = make(texture(100, 100), policy, seed=seed, count=3)
            shares = [np.prod(view.window.size) / 100**2 for view in found]
            assert all(low - 0.02 < s < high + 0.02 for s, (low, high) in zip(shares, scales, strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": [16, 16, 16]}, "give 2 positive sizes"),
        ({"size": [16, 0]}, "give 2 positive sizes"),
        ({"size": [[16, 16], [8, 8], [8, 8]]}, "holds 3 sizes but views.count is 2"),
        ({"size": [16, 16], "count": 0}, "at least one view"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        views.build(spatial_dims=2, **arguments)


def test_a_source_of_other_dimension_is_refused():
    with pytest.raises(InputError, match="axes"):
        views.build(spatial_dims=2, size=[8, 8])(texture(8, 8, 8), case(texture(8, 8)), 0, random.build(), rng())


def test_pathology_keeps_three_channels():
    tile = (texture(64, 64, channels=3) * 255).astype(np.uint8)
    found = make(tile, preset="pathology", values=((0.0, 255.0),) * 3, size=[32, 32])
    assert all(v.x.shape == v.target.shape == (3, 32, 32) and v.mask.shape == (1, 32, 32) for v in found)


# Data set


def equal(a, b):
    pairs = zip([*a.x, *a[1:]], [*b.x, *b[1:]], strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def data(cache, seed=0):
    maker = views.build(spatial_dims=3, size=[16, 16, 16], preset="ct", corrupt="transvw")
    return view_dataset.ViewsDataset(cache, cache.ids, maker, random.build(), seed)


KEYS = [[(0, 0), (0, 3)], [(0, 2), (0, 1)], [(1, 0), (1, 1)], [(1, 3), (1, 2)]]


def test_seed_epoch_and_index_fix_the_bytes_whatever_the_workers(cache):
    def batches(workers):
        loader = DataLoader(data(cache), batch_sampler=KEYS, num_workers=workers, collate_fn=view_dataset.collate)
        return list(loader)

    here, one, four = batches(0), batches(1), batches(4)
    for a, b, c in zip(here, one, four, strict=True):
        assert equal(a, b)
        assert equal(a, c)


def test_drafts_of_workers_become_the_views_that_workers_make(cache):
    made, drafted = data(cache), data(cache)
    drafted.drafted = True
    for workers in (0, 2):
        loader = DataLoader(drafted, batch_sampler=KEYS[:2], num_workers=workers, collate_fn=view_dataset.collate)
        for keys, batch in zip(KEYS[:2], loader, strict=True):
            finished = drafted.maker.finish(batch, torch.device("cpu"))
            expected = view_dataset.collate([made[key] for key in keys])
            assert (finished.x[0] - expected.x[0]).abs().max() < 1e-3
            assert (finished.target - expected.target).abs().max() < 1e-3
            assert (finished.corrupted - expected.corrupted).abs().max() < 1e-3
            assert torch.equal(finished.mask, expected.mask)
            assert torch.equal(finished.sample, expected.sample)


def test_a_sample_does_not_depend_on_what_came_before(cache):
    """So that a resumed run goes on with the same views."""
    after, alone = data(cache), data(cache)
    for key in KEYS[0]:
        after[key]
    assert equal(view_dataset.collate([after[(2, 1)]]), view_dataset.collate([alone[(2, 1)]]))


def test_other_epochs_seeds_and_views_differ(cache):
    first = data(cache)[(0, 0)].views
    assert not np.array_equal(first[0].target, first[1].target)
    for other in (data(cache)[(1, 0)], data(cache, seed=1)[(0, 0)]):
        assert not np.array_equal(first[0].target, other.views[0].target)


def test_a_batch_has_its_sample_and_patient_numbers(cache):
    batch = view_dataset.collate([data(cache)[(0, i)] for i in (2, 0)])
    assert [x.shape for x in batch.x] == [(2, 1, 16, 16, 16)] * 2
    assert (batch.target.shape, batch.mask.shape, batch.mask.dtype) == (
        (2, 1, 16, 16, 16),
        (2, 1, 16, 16, 16),
        torch.bool,
    )
    assert batch.sample.tolist() == [2, 0]
    assert batch.patient.tolist() == [2, 0]


def test_patients_are_numbered_by_first_appearance(cache):
    ids = cache.ids
    assert view_dataset.ViewsDataset(cache, [ids[1], ids[0], ids[1]], None, None, 0).patients == [0, 1, 0]


def test_an_array_that_cannot_be_read_is_named(tmp_path):
    broken = phantom_cache(tmp_path / "cache", 3, (24, 32, 32), 0, "ct")
    name = broken.ids[1]
    file = next((tmp_path / "cache").rglob(f"{name}.b2nd"))
    file.write_bytes(file.read_bytes()[:2000])
    maker = views.build(spatial_dims=3, size=[16, 16, 16])
    with pytest.raises(InputError, match=name):
        view_dataset.ViewsDataset(broken, broken.ids, maker, random.build(), 0)[(0, 1)]


def test_what_fails_in_a_transform_is_not_blamed_on_the_data(cache):
    class Failing:
        def draw(self, rng, shape):
            raise ValueError("low > high")

    broken = data(cache)
    broken.maker.preset.intensity[:] = [Failing()]
    with pytest.raises(ValueError, match=r"^low > high$"):
        broken[(0, 1)]


@pytest.mark.parametrize("key", ["sigma", "std"])
def test_values_that_mean_nothing_are_refused_before_any_data_is_read(key):
    with pytest.raises(InputError, match=f"{key} is"):
        views.build(spatial_dims=2, size=[8, 8], intensity=[{"kind": "blur_noise", key: [1, 0.5]}])
    with pytest.raises(InputError, match="needs RGB images"):
        views.build(spatial_dims=2, channels=1, size=[8, 8], preset="pathology")


def test_a_read_that_fails_half_way_names_the_case(cache, monkeypatch):
    class Failing:
        shape = (1, 24, 32, 32)

        def __getitem__(self, box):
            raise RuntimeError("chunk 3 is damaged")

    monkeypatch.setattr(cache, "image", lambda name: Failing())
    with pytest.raises(InputError, match=rf"case {cache.ids[1]} of .* cannot be read \(chunk 3 is damaged\)"):
        data(cache)[(0, 1)]
