from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader, Dataset

from medssl.crop import contrastive, random
from medssl.crop.contrastive import contrastive_window
from medssl.crop.geometry import start_range
from medssl.crop.heat import box_from_map, covers, guided, heat_map, largest_box
from medssl.types import InputError, Maps


def renew(policy, maps, size=None, foreground=None):
    """Give a policy new boxes, as one rank does."""
    policy.set_boxes(*policy.boxes_of(maps, size, foreground))


def rng(seed=0):
    return np.random.default_rng(seed)


def policy(samples=3, dims=2, steps=100, **arguments):
    return contrastive.build(samples=samples, spatial_dims=dims, steps=steps, **arguments)


def spot(shape, *cells):
    heat = torch.zeros(shape)
    for cell in cells:
        heat[cell] = 1.0
    return heat


# Windows


def test_before_the_first_refresh_it_is_bit_identical_to_random_crops():
    ours, plain = policy(alpha=0.1), random.build()
    a, b = rng(7), rng(7)
    assert [ours.window((90, 120), i % 3, a) for i in range(60)] == [
        plain.window((90, 120), i % 3, b) for i in range(60)
    ]
    assert a.bit_generator.state == b.bit_generator.state


@given(
    shape=st.lists(st.integers(1, 60), min_size=2, max_size=3),
    corners=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    alpha=st.floats(0.05, 3),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=300)
def test_windows_lie_inside_and_their_centres_in_the_box(shape, corners, alpha, seed):
    n = len(shape)
    low = [min(p) for p in zip(corners[:n], corners[3:], strict=False)]
    high = [max(p) for p in zip(corners[:n], corners[3:], strict=False)]
    plain = random.build(scale=(0.05, 0.6))
    start, size = contrastive_window(tuple(shape), [*low, *high], alpha, plain, rng(seed))
    assert all(0 <= a and 1 <= s and a + s <= total for a, s, total in zip(start, size, shape, strict=True))
    if (start, size) == plain.centre(tuple(shape)):
        return  # ten misses: the published fallback looks at no box
    for total, a, s, b0, b1 in zip(shape, start, size, low, high, strict=True):
        first, last = int(total * b0 + 1e-9), int(total * b1 + 1e-9)
        if 0 <= first - s // 2 and last - s // 2 <= total - s:  # no clamp is active
            assert first <= a + s // 2 <= last


def test_alpha_1_and_a_full_box_has_the_centres_of_a_uniform_offset():
    plain, source = random.build(scale=(0.25, 0.25)), rng()
    windows = [contrastive_window((4000, 4000), [0, 0, 1, 1], 1.0, plain, source) for _ in range(3000)]
    for axis in (0, 1):
        share = [w.start[axis] / (4000 - w.size[axis]) for w in windows]
        assert stats.kstest(share, "uniform").pvalue > 1e-3


# Heat maps and boxes


def test_auto_is_the_deepest_level_of_six_cells_an_axis():
    features = [torch.full((1, 1, n, n, n), float(n)) for n in (24, 12, 6, 3)]
    assert heat_map(features, "auto").shape == (1, 6, 6, 6)
    assert heat_map(features, "deepest").shape == (1, 3, 3, 3)
    assert heat_map(features, 1).shape == (1, 12, 12, 12)
    assert heat_map(features[2:] + features[3:], "auto").shape == (1, 6, 6, 6)
    assert heat_map([features[3], features[3]], "auto").shape == (1, 3, 3, 3)
    with pytest.raises(InputError, match=r"crop\.level is 4 but the encoder has 4 levels"):
        heat_map(features, 4)


@given(scale=st.floats(0.01, 100), shift=st.floats(-50, 50), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_boxes_ignore_scale_and_shift_of_the_map(scale, shift, seed):
    heat = torch.tensor(rng(seed).random((5, 6)))
    torch.testing.assert_close(box_from_map(scale * heat + shift), box_from_map(heat), atol=1 / 160, rtol=0)


@given(seed=st.integers(0, 1000), low=st.floats(0, 0.8), more=st.floats(0, 0.15))
@settings(max_examples=50)
def test_a_higher_threshold_gives_a_box_inside(seed, low, more):
    heat = torch.tensor(rng(seed).random((5, 6)) ** 3)
    wide, narrow = box_from_map(heat, threshold=low), box_from_map(heat, threshold=low + more)
    if not narrow.isnan().any():
        assert (narrow[:2] >= wide[:2]).all()
        assert (narrow[2:] <= wide[2:]).all()


def test_transposing_the_map_swaps_the_axes():
    heat = torch.tensor(rng().random((5, 7)) ** 4)
    assert torch.equal(box_from_map(heat.T), box_from_map(heat)[[1, 0, 3, 2]])


def test_two_blobs_give_the_union_rectangle():
    one, two = spot((8, 8), (1, 2)), spot((8, 8), (6, 5))
    a, b, both = (box_from_map(m, box_upper="edge") for m in (one, two, one + two))
    assert torch.equal(both, torch.cat([torch.minimum(a[:2], b[:2]), torch.maximum(a[2:], b[2:])]))


def test_only_the_edge_rule_reaches_the_border():
    heat = spot((7, 7), (6, 6))
    assert box_from_map(heat, box_upper="edge").tolist() == [179 / 224, 179 / 224, 1, 1]
    assert box_from_map(heat, box_upper="index").tolist() == [179 / 224, 179 / 224, 223 / 224, 223 / 224]


def test_a_small_box_grows_about_its_centre_and_stays_inside():
    grown = box_from_map(spot((7, 7), (3, 0)), threshold=0.5, min_side=0.5)
    assert grown.tolist() == pytest.approx([0.25, 0.0, 0.75, 0.5], abs=1e-9)


def test_percentile_keeps_that_share_of_the_map():
    heat = torch.arange(64.0).reshape(8, 8)
    box = box_from_map(heat, percentile=75.0)
    assert box.tolist() == pytest.approx([0.75, 0, 1, 1], abs=1 / 16)


def test_boxes_stay_inside_the_foreground():
    body = torch.tensor([0.2, 0.2, 0.6, 0.9])
    assert box_from_map(spot((8, 8), (0, 4)) + spot((8, 8), (3, 4)), foreground=body)[0].item() == pytest.approx(0.2)
    outside = box_from_map(spot((8, 8), (7, 4)), foreground=body)
    assert outside.tolist() == pytest.approx(body.tolist(), abs=1e-6)


def test_what_is_hot_outside_the_body_gives_the_largest_box_within_it():
    """The body's bounding box is wider than its warm cells: the box ends where the largest one does."""
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:4, 1:5] = True
    rule = {"threshold": 0.75, "foreground": torch.tensor([0.0, 0.0, 1.0, 0.5]), "inside": inside}
    box = box_from_map(spot((8, 8), (3, 4)), **rule)
    assert torch.equal(box, largest_box((8, 8), **rule))
    assert box.tolist() == pytest.approx([2.25 / 8, 1.25 / 8, 3.75 / 8, 0.5], abs=1 / 256)


def test_a_hot_cell_without_body_does_not_stretch_the_box():
    """The body's bounding box holds the corner, the body does not."""
    lesion, inside = spot((8, 8), (3, 4)), torch.ones(8, 8, dtype=torch.bool)
    inside[:2, :2] = False
    heat = lesion + 5 * spot((8, 8), (0, 0))
    stretched = box_from_map(heat)
    assert stretched[:2].tolist() == [0, 0]
    assert torch.equal(box_from_map(heat, inside=inside), box_from_map(lesion))
    ours = policy(samples=2, min_side=0.0)
    renew(ours, [Maps(torch.arange(2), heat.expand(2, 8, 8), torch.stack([inside, inside | True]))])
    assert torch.equal(ours.boxes, torch.stack([box_from_map(lesion), stretched]))


def test_cells_without_body_do_not_set_the_scale_and_no_body_at_all_changes_nothing():
    heat, inside = torch.tensor(rng().random((6, 6))) + 1, torch.ones(6, 6, dtype=torch.bool)
    for everything in (inside, ~inside):
        assert torch.equal(box_from_map(heat, inside=everything), box_from_map(heat))
    inside[0] = False
    boxes = []
    for air in (0.0, 1.5, 9.0):
        heat[0] = air
        boxes.append(box_from_map(heat, threshold=0.8, inside=inside))
    assert torch.equal(boxes[0], boxes[1])
    assert torch.equal(boxes[0], boxes[2])
    heat[1:] = 1.0  # hot in air alone
    assert box_from_map(heat, inside=inside).isnan().all()


@pytest.mark.parametrize("value", [0.0, 3.0, float("nan"), float("inf")])
def test_a_map_that_says_nothing_gives_the_whole_image_is_counted_and_warned_of(value):
    ours, maps = policy(), torch.stack([spot((7, 7), (3, 3)), spot((7, 7), (3, 3)), torch.full((7, 7), value)])
    with pytest.warns(UserWarning, match="1 of 3 heat maps"):
        renew(ours, [Maps(torch.tensor([0, 1, 2]), maps)])
    assert ours.boxes[2].tolist() == [0, 0, 1, 1]
    assert ours.statistics()["box_fallbacks"] == 1


def test_one_nan_cell_makes_the_whole_map_say_nothing():
    heat = spot((7, 7), (3, 3))
    heat[0, 0] = float("nan")
    assert box_from_map(heat).isnan().all()


def test_boxes_that_are_almost_all_full_are_warned_of():
    flat = torch.ones(2, 7, 7)
    flat[:, 3, 3] = 0.9  # only one cell is cold
    with pytest.warns(UserWarning, match=r"100% of the crop boxes are as large as the image.*threshold"):
        renew(policy(samples=2), [Maps(torch.arange(2), flat)])


def test_statistics():
    ours = policy(samples=2)
    ours.set_boxes(torch.arange(2), torch.tensor([[0, 0, 1, 1.0], [0, 0, 0.5, 0.5]]))
    expected = {"box_volume": 0.625, "box_share": 0.625, "full_boxes": 0.5, "box_fallbacks": 0.0}
    assert ours.statistics() == expected | {"guided_crops": 0.5}


def test_how_many_crops_the_boxes_guide_is_what_drawing_shows():
    """Sides are 0.45 to 1: a box that ends at 0.7 holds back crops of a side under 0.6, one that ends at 0.9 none."""
    boxes = torch.tensor([[0, 0, 1, 0.7], [0.1, 0.1, 0.9, 0.9]]).double()
    share = (0.36 - 0.2) / 0.8
    assert guided(boxes[:1], (0.2, 1.0)) == pytest.approx(share, abs=1 / 16)
    assert guided(boxes[1:], (0.2, 1.0)) == 0
    rng, held = np.random.default_rng(0), 0
    for _ in range(2000):
        side = np.sqrt(rng.uniform(0.2, 1.0))
        held += start_range(1000, int(1000 * side), 0, 0.7) != start_range(1000, int(1000 * side), 0, 1)
    assert held / 2000 == pytest.approx(share, abs=0.04)


def test_crops_too_large_for_any_box_are_warned_of():
    small = torch.tensor([[0.3, 0.3, 0.7, 0.7], [0.2, 0.2, 0.6, 0.6]])
    with pytest.warns(UserWarning, match=r"changes only 0% of the crops.*lower crop\.scale"):
        policy(samples=2, scale=(0.95, 1.0)).set_boxes(torch.arange(2), torch.tensor([[0.1, 0.1, 0.9, 0.9]] * 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy(samples=2).set_boxes(torch.arange(2), small)


BODY = torch.tensor([[0.0, 0.125, 0.75, 0.875]]).double().repeat(2, 1)


@pytest.mark.parametrize("rule", [{"box_upper": "edge"}, {"box_upper": "index"}, {"percentile": 1.0}])
@pytest.mark.parametrize("body", [None, BODY])
@pytest.mark.parametrize("shape", [(7, 7), (8, 8)])
def test_a_box_is_full_when_it_covers_all_that_it_could(rule, body, shape):
    """A box cut to the body never equals the whole image, nor does one that ends at its last index."""
    warm = torch.ones(2, *shape)
    warm[:, 3, 3] = 0.0  # one cold cell: a map that guides to nowhere
    ours = policy(samples=2, **rule)
    with pytest.warns(UserWarning, match="100% of the crop boxes"):
        renew(ours, [Maps(torch.arange(2), warm)], foreground=body)
    found = ours.statistics()
    assert found["full_boxes"] == 1
    assert found["box_share"] == 1
    if body is not None or rule.get("box_upper") == "index":
        assert found["box_volume"] < 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        renew(ours, [Maps(torch.arange(2), spot(shape, (2, 3)).expand(2, *shape))], foreground=body)
    assert ours.statistics()["full_boxes"] == 0
    assert ours.statistics()["box_share"] < 1


@given(seed=st.integers(0, 1000), threshold=st.floats(0, 0.95), upper=st.sampled_from(["edge", "index"]))
@settings(max_examples=50)
def test_no_box_reaches_beyond_the_largest(seed, threshold, upper):
    heat, body = torch.tensor(rng(seed).random((5, 6))), torch.tensor(np.sort(rng(seed).random((2, 2)), 0)).flatten()
    inside = torch.tensor(rng(seed + 1).random((5, 6)) < 0.5)
    rule = {"threshold": threshold, "box_upper": upper, "foreground": body, "inside": inside}
    box, largest = box_from_map(heat, **rule), largest_box((5, 6), **rule)
    assert box.isnan().any() or covers(largest[None], box[None])


class Firing(torch.nn.Module):
    """A network whose deepest features fire at what is bright, and weakly elsewhere."""

    def forward(self, x_BC):
        fine = torch.nn.functional.avg_pool3d(x_BC, 4)
        return x_BC, torch.cat([fine, -fine, torch.full_like(fine, 0.01)], 1)


@pytest.mark.parametrize("centre", [(10, 30, 20), (34, 8, 40), (24, 24, 24)])
def test_a_network_that_fires_at_a_planted_lesion_gets_a_box_that_covers_it(centre):
    grid = np.indices((48, 48, 48)) - np.array(centre).reshape(3, 1, 1, 1)
    lesion = (grid**2).sum(0) < 6**2
    volume = rng().normal(0.1, 0.02, lesion.shape) + 0.8 * lesion
    x = torch.tensor(volume, dtype=torch.float32)[None, None]
    ours = policy(samples=1, dims=3, threshold=0.2)
    renew(ours, [Maps(torch.tensor([0]), heat_map(Firing()(x), ours.level))], size=(48, 48, 48))
    low, high = ours.boxes[0].reshape(2, 3).numpy() * 48
    where = np.argwhere(lesion)
    assert (low <= where.min(0)).all()
    assert (where.max(0) + 1 <= high).all()
    assert ours.statistics()["box_volume"] < 0.5


# Schedule, sharing, keeping


@pytest.mark.parametrize(
    ("steps", "start", "every", "after"),
    [
        (100, 0.2, 0.2, [20, 40, 60, 80]),
        (500, 100, 100, [100, 200, 300, 400]),
        (10, 0, 4, [0, 4, 8]),
        (100, 1.0, 0.2, []),  # the random-crop baseline: the same code, never started
        (2, 0.2, 0.2, [1]),  # a share of a step is a step
        (1001, 0.2, 0.2, [200, 400, 601, 801]),  # each share is rounded: rounding every alone would add one at 1000
        (21, 0.2, 0.2, [4, 8, 13, 17]),
        (100, 30, 0.2, [30, 50, 70, 90]),
        (100, 0.3, 40, [30, 70]),
        (100, 0.2, 1.0, [20]),
    ],
)
def test_refreshes_are_due_from_start_on_and_never_at_the_end(steps, start, every, after):
    ours = policy(steps=steps, start=start, every=every)
    assert [s for s in range(steps + 1) if ours.due(s)] == after


def test_boxes_of_gathered_by_the_loop_equal_a_refresh_at_once():
    """Ranks hand in boxes of their own samples, in any order; NaN survives the way and is counted once."""
    maps = torch.stack([spot((6, 6), (i % 6, i % 5)) for i in range(10)])
    maps[4] = 1.0
    whole, gathered = policy(samples=10), policy(samples=10)
    with pytest.warns(UserWarning, match="1 of 10 heat maps"):
        renew(whole, [Maps(torch.arange(10), maps)])
    ranks = [torch.arange(r, 12, 3) % 10 for r in range(3)]  # the last rank repeats two samples to make ranks equal
    parts = [gathered.boxes_of([Maps(i, maps[i])]) for i in ranks]
    with pytest.warns(UserWarning, match="1 of 10 heat maps"):
        gathered.set_boxes(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
    assert torch.equal(whole.boxes, gathered.boxes)
    assert whole.statistics() == gathered.statistics()


class Windows(Dataset):
    def __init__(self, crop):
        self.crop = crop

    def __len__(self):
        return 4

    def __getitem__(self, index):
        window = self.crop.window((100, 100), index, rng(index))
        return torch.tensor([*window.start, *window.size]), self.crop.boxes[index].clone()


def test_workers_that_outlive_a_refresh_see_the_new_boxes():
    ours, boxes = policy(samples=4, alpha=0.1), torch.tensor([[0.6, 0.6, 0.9, 0.9]]).double().repeat(4, 1)
    loader = DataLoader(Windows(ours), batch_size=4, num_workers=1, persistent_workers=True)
    (before, first), *_ = loader
    ours.set_boxes(torch.arange(4), boxes)
    (after, second), *_ = loader
    assert first.tolist() == [[0, 0, 1, 1]] * 4
    assert torch.equal(second, boxes)
    here = [Windows(ours)[i][0] for i in range(4)]
    assert torch.equal(after, torch.stack(here))
    assert not torch.equal(before, after)


def test_state_brings_back_boxes_counts_and_windows():
    ours, other = policy(), policy()
    heat = torch.stack([spot((7, 7), (1, 5)), spot((7, 7), (5, 1)), torch.ones(7, 7)])
    with pytest.warns(UserWarning, match="heat maps"):
        renew(ours, [Maps(torch.arange(3), heat)])
    other.load(ours.state())
    assert torch.equal(ours.boxes, other.boxes)
    assert ours.statistics() == other.statistics()
    assert ours.window((80, 80), 1, rng()) == other.window((80, 80), 1, rng())
    assert other.boxes.is_shared()
    with pytest.raises(InputError, match=r"shape \(3, 4\), this run needs \(5, 4\)"):
        policy(samples=5).load(ours.state())


def test_a_refresh_draws_nothing_from_the_global_generators():
    torch.manual_seed(0)
    before, ours = torch.random.get_rng_state(), policy(samples=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        renew(ours, [Maps(torch.tensor([0]), torch.ones(1, 7, 7))])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "bad",
    [
        {"alpha": 0.0},
        {"threshold": 1.0},
        {"min_side": 1.5},
        {"percentile": 100.0},
        {"start": 101},
        {"every": 1.5},
        {"every": -1},
        {"every": 0},
        {"every": 0.0},
    ],
)
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(InputError, match=rf"crop\.{next(iter(bad))} (is|must be) .*{next(iter(bad.values()))}"):
        policy(**bad)


def test_only_the_boxes_just_set_are_warned_of():
    """A preview gives boxes to a few of many samples; those it leaves out are not its business."""
    ours = policy(samples=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.set_boxes(torch.tensor([3]), torch.tensor([[0.2, 0.2, 0.6, 0.6]]))
