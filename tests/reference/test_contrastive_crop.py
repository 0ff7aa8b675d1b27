"""ContrastiveCrop against an independent reference in plain loops, and against cases computed by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from medssl.crop.contrastive import contrastive_window
from medssl.crop.geometry import start_range
from medssl.crop.heat import box_from_map, heat_map, normalized_map
from medssl.crop.random import RandomCrop


def hot(shape, *cells):
    heat = torch.zeros(shape)
    for cell, value in cells:
        heat[cell] = value
    return heat


def pixels(heat, size, threshold):
    """First and last index a axis, inclusive, by the published rule."""
    box = box_from_map(heat, size, threshold=threshold, box_upper="index") * torch.tensor([*size, *size])
    low, high = box.round().long().reshape(2, -1).tolist()
    return list(zip(low, high, strict=True))


def reference_box(heat: np.ndarray, size, threshold) -> list[float]:
    """Min-max, half-pixel linear interpolation one sample at a time, bounding rectangle; all by scalar loops."""
    low, high = heat.min(), heat.max()
    hits = []
    for index in itertools.product(*(range(n) for n in size)):
        total = 0.0
        axes = []
        for i, n, cells in zip(index, size, heat.shape, strict=True):
            p = min(max((i + 0.5) * cells / n - 0.5, 0.0), cells - 1)
            left = min(math.floor(p), cells - 1)
            axes.append([(left, 1 - (p - left)), (min(left + 1, cells - 1), p - left)])
        for corner in itertools.product(*axes):
            cell, weights = zip(*corner, strict=True)
            total += math.prod(weights) * (heat[cell] - low) / (high - low)
        if total > threshold:
            hits.append(index)
    return [min(h[a] for h in hits) / n for a, n in enumerate(size)] + [
        max(h[a] for h in hits) / n for a, n in enumerate(size)
    ]


@pytest.mark.parametrize(
    ("cell", "threshold", "rows"),
    [
        ((3, 3), 0.1, (83, 140)),
        ((3, 3), 0.3, (90, 133)),
        ((3, 3), 0.5, (96, 127)),
        ((0, 0), 0.1, (0, 44)),
        ((0, 0), 0.3, (0, 37)),
        ((0, 0), 0.5, (0, 31)),
        ((6, 6), 0.1, (179, 223)),
        ((6, 6), 0.3, (186, 223)),
        ((6, 6), 0.5, (192, 223)),
    ],
)
def test_one_hot_cell_of_7x7_at_224(cell, threshold, rows):
    assert pixels(hot((7, 7), (cell, 1.0)), (224, 224), threshold) == [rows, rows]


@pytest.mark.parametrize(
    ("cell", "threshold", "box"),
    [
        ((3, 3), 0.1, [0.370536, 0.370536, 0.625, 0.625]),
        ((3, 3), 0.3, [0.401786, 0.401786, 0.59375, 0.59375]),
        ((3, 3), 0.5, [0.428571, 0.428571, 0.566964, 0.566964]),
        ((0, 0), 0.1, [0, 0, 0.196429, 0.196429]),
        ((6, 6), 0.1, [0.799107, 0.799107, 0.995536, 0.995536]),
    ],
)
def test_published_boxes_end_at_the_last_index(cell, threshold, box):
    found = box_from_map(hot((7, 7), (cell, 1.0)), (224, 224), threshold=threshold, box_upper="index")
    assert found.tolist() == pytest.approx(box, abs=1e-6)


def test_published_rule_is_the_upsampling_of_32_samples_a_cell():
    heat = hot((7, 7), ((2, 5), 1.0))
    assert torch.equal(box_from_map(heat), box_from_map(heat, (224, 224)))


def test_peaks_of_the_interpolated_map():
    assert normalized_map(hot((7, 7), ((3, 3), 1.0)), (224, 224)).max().item() == pytest.approx(
        (1 - 1 / 64) ** 2, abs=1e-6
    )
    assert normalized_map(hot((7, 7), ((0, 0), 1.0)), (224, 224)).max().item() == 1.0
    assert normalized_map(hot((4, 4, 4), ((1, 2, 3), 1.0)), (64, 64, 32)).max().item() == pytest.approx(
        0.938477, abs=1e-6
    )


def test_two_cells_of_4x4_at_32():
    heat = hot((4, 4), ((1, 1), 2.0), ((1, 2), 1.0))
    assert pixels(heat, (32, 32), 0.1) == [(5, 18), (5, 25)]
    assert pixels(heat, (32, 32), 0.5) == [(8, 15), (8, 18)]
    box = box_from_map(heat, (32, 32), threshold=0.1, box_upper="index")
    assert box.tolist() == [0.15625, 0.15625, 0.5625, 0.78125]


def test_2x2_at_4x4_is_an_outer_product():
    heat = hot((2, 2), ((0, 0), 1.0))
    profile = torch.tensor([1, 0.75, 0.25, 0], dtype=torch.float64)
    torch.testing.assert_close(normalized_map(heat, (4, 4)), profile.outer(profile))
    assert pixels(heat, (4, 4), 0.1) == [(0, 2), (0, 2)]
    assert pixels(heat, (4, 4), 0.5) == [(0, 1), (0, 1)]


def test_a_ramp_over_the_whole_image_gives_all_of_it():
    assert pixels(torch.arange(49.0).reshape(7, 7), (224, 224), 0.1) == [(0, 223), (0, 223)]


def test_one_hot_cell_in_3d():
    heat = hot((4, 4, 4), ((1, 2, 3), 1.0))
    assert pixels(heat, (64, 64, 32), 0.1) == [(10, 37), (26, 53), (21, 31)]
    assert pixels(heat, (64, 64, 32), 0.5) == [(16, 31), (32, 47), (24, 31)]


@pytest.mark.parametrize("size", [(32, 40), (12, 20, 16)])
@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.7])
def test_equals_the_scalar_reference(size, threshold):
    heat = torch.tensor(np.random.default_rng(len(size)).random([5, 4, 3][: len(size)]) ** 4)
    found = box_from_map(heat, size, threshold=threshold, box_upper="index")
    assert found.tolist() == pytest.approx(reference_box(heat.numpy(), size, threshold), abs=1e-12)


def test_the_map_is_the_channel_sum_after_relu():
    features = (torch.zeros(1, 1, 4, 4), torch.tensor([[[[1.0, -2.0]], [[3.0, 5.0]]]]))
    assert heat_map(features, "deepest").tolist() == [[[4.0, 5.0]]]


@pytest.mark.parametrize(
    ("n", "side", "low", "high", "starts"),
    [
        (224, 112, 0, 1, (0, 112)),
        (224, 100, 0.25, 0.75, (6, 118)),
        (224, 101, 0.25, 0.75, (6, 118)),
        (224, 200, 0.9, 1, (24, 24)),  # 101 and 24 before the release's repair: a window past the border
        (224, 224, 0.3, 0.4, (0, 0)),
        (32, 16, 0.25, 0.75, (0, 16)),
        (224, 60, 83 / 224, 140 / 224, (53, 110)),
    ],
)
def test_range_of_starts(n, side, low, high, starts):
    assert start_range(n, side, low, high) == starts


class Fixed:
    """A generator whose Beta draws are `u`, for a window of half the side."""

    def __init__(self, u):
        self.u = u

    def uniform(self, low, high):
        return (low + high) / 2

    def beta(self, a, b):
        return self.u


@pytest.mark.parametrize(("u", "start"), [(0.0, 0), (0.5, 56), (1.0, 112)])
def test_the_draw_runs_from_the_first_to_the_last_start(u, start):
    policy = RandomCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    window = contrastive_window((224, 224), [0, 0, 1, 1], 0.6, policy, Fixed(u))
    assert window == ((start, start), (112, 112))


@pytest.mark.parametrize(
    ("alpha", "variance", "mass_at_0", "outer", "middle", "gap"),
    [
        (0.1, 2583.925, 0.316671, 0.812770, 0.035760, 0.4882),
        (0.6, 1423.950, 0.040731, 0.352095, 0.144952, 0.3880),
        (1.0, 1045.25, 0.008929, 0.2, 0.2, 0.3333),
    ],
)
def test_starts_are_beta_distributed(alpha, variance, mass_at_0, outer, middle, gap):
    """Span 112: truncation puts the mean at 55.5; the extremes hold the stated mass; all within 4 standard errors."""
    policy, rng, draws = RandomCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0)), np.random.default_rng(0), 10_000
    starts = np.array([contrastive_window((224, 224), [0, 0, 1, 1], alpha, policy, rng).start for _ in range(draws)])
    flat = starts.ravel()
    assert abs(flat.mean() - 55.5) < 4 * math.sqrt(variance / flat.size)
    assert abs(flat.var() - variance) < 4 * flat.var() * math.sqrt(2 / flat.size)
    u = (flat + 0.5) / 112
    for share, expected in [
        ((flat == 0).mean(), mass_at_0),
        ((flat >= 111).mean(), mass_at_0),
        ((u < 0.1).mean() + (u > 0.9).mean(), outer),
        ((u > 0.4).mean() - (u > 0.6).mean(), middle),
    ]:
        # 0.003 allows for the half voxel by which 10% of 112 is no whole start.
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / flat.size) + 0.003
    apart = np.abs(starts[::2] - starts[1::2]).ravel() / 112
    assert abs(apart.mean() - gap) < 4 * apart.std() / math.sqrt(apart.size)
    assert flat.max() <= 112


def test_as_alpha_falls_the_centre_empties():
    policy, rng = RandomCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0)), np.random.default_rng(0)
    starts = [contrastive_window((224, 224), [0, 0, 1, 1], 1e-3, policy, rng).start[0] for _ in range(500)]
    assert sum(s in (0, 111, 112) for s in starts) > 490
