"""Surface Dice and Hausdorff distances, each by its name: hand cases (localization.md) and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from monai.metrics.utils import get_code_to_measure_table

from medssl.metrics.surface import hausdorff, surface_dice


def box(shape, start, stop):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def moved(shape, start, side, step):
    """A square or cube, and the same moved by `step`."""
    stop = [a + side for a in start]
    ahead = [a + b for a, b in zip(start, step, strict=True)]
    return box(shape, start, stop), box(shape, ahead, [a + side for a in ahead])


S1 = moved((10, 10), (3, 3), 4, (0, 1))
S4 = moved((10, 10, 10), (3, 3, 3), 4, (0, 0, 1))
S5 = moved((10, 10, 10), (3, 3, 3), 4, (1, 0, 0))


@pytest.mark.parametrize(
    ("pair", "spacing", "by_tolerance"),
    [
        (S1, (1, 1), {0: 0.5, 0.5: 0.5, 1: 1}),
        (S1, (1, 3), {0: 0.697859, 1: 0.763813, 2.9: 0.796789, 3: 1}),
        (S4, (1, 1, 1), {0.5: 0.663111, 1: 1}),
        (S5, (3, 1, 1), {1: 0.839220, 2.9: 0.844381, 3: 1}),
    ],
)
def test_surface_dice_of_moved_boxes(pair, spacing, by_tolerance):
    """Cases S1, S2 (columns of 3 mm), S4, S5."""
    for tolerance, expected in by_tolerance.items():
        assert surface_dice(*pair, spacing, tolerance) == pytest.approx(expected, abs=1e-6)
        assert surface_dice(*pair[::-1], spacing, tolerance) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("pair", "spacing", "expected"), [(S1, (1, 1), 1), (S1, (1, 3), 3), (S4, (1, 1, 1), 1), (S5, (3, 1, 1), 3)]
)
def test_hausdorff_of_moved_boxes(pair, spacing, expected):
    """Cases S1, S2, S4, S5."""
    for variant in ("monai", "deepmind"):
        assert hausdorff(*pair, spacing, variant=variant) == pytest.approx(expected)


def test_a_square_in_a_square_is_out_by_more_than_one_at_its_corners():
    """Case S3."""
    outer, inner = box((12, 12), (2, 2), (10, 10)), box((12, 12), (3, 3), (9, 9))
    found = [surface_dice(outer, inner, (1, 1), tolerance) for tolerance in (0.9, 1, 1.5)]
    assert found == pytest.approx([0, 0.947287, 1], abs=1e-6)
    for variant in ("monai", "deepmind", "pooled"):
        assert hausdorff(outer, inner, (1, 1), variant=variant) == pytest.approx(1.414214, abs=1e-6)


@pytest.mark.parametrize(("side", "nsd", "distances"), [(10, 0.964858, (0, 20, 0)), (2, 0.828427, (16.8, 21, 12.6))])
def test_a_stray_voxel_parts_the_definitions(side, nsd, distances):
    """Cases S6 and S7."""
    truth = box((40, 16), (2, 2), (2 + side, 2 + side))
    prediction = truth.copy()
    prediction[2 + side + 20, 2] = True
    assert surface_dice(prediction, truth, (1, 1), 1) == pytest.approx(nsd, abs=1e-6)
    found = [hausdorff(prediction, truth, (1, 1), variant=variant) for variant in ("monai", "deepmind", "pooled")]
    assert found == pytest.approx(distances)


def test_empty_masks():
    empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    for pair in ((empty, full), (full, empty)):
        assert surface_dice(*pair, (1, 1), 1) == 0
        assert hausdorff(*pair, (1, 1)) == 5  # the diagonal
    assert math.isnan(surface_dice(empty, empty, (1, 1), 1))
    assert math.isnan(hausdorff(empty, empty, (1, 1)))


def test_a_distance_of_the_tolerance_is_within_it():
    for step in (0.1, 0.3, 0.7, 1.1):
        assert surface_dice(*S1, (1, step), step) == 1


def elements(mask, spacing):
    """Corners between voxels whose 2x2(x2) voxels are not all alike: place and length or area of the surface there.

    In 2D marching squares: a corner with one or three voxels is a diagonal between two sides' middles, with two side by
    side a whole side, with two opposite ones two diagonals. In 3D the measures are those of the published table.
    """
    padded, dims = np.pad(mask, 1), mask.ndim
    corners = list(itertools.product((0, 1), repeat=dims))
    table, kernel = get_code_to_measure_table(spacing)
    found = []
    for place in itertools.product(*(range(side - 1) for side in padded.shape)):
        inside = {corner for corner in corners if padded[tuple(np.add(place, corner))]}
        if not 0 < len(inside) < len(corners):
            continue
        if dims == 3:
            measure = float(table[int(sum(kernel[0, 0][corner] for corner in inside))])
        elif len(inside) in (1, 3):
            measure = math.hypot(*spacing) / 2
        else:
            (a, b), (c, d) = inside
            measure = math.hypot(*spacing) if a != c and b != d else spacing[1] if a == c else spacing[0]
        found.append((np.multiply(place, spacing), measure))
    places, measures = zip(*found, strict=True)
    return np.array(places), np.array(measures)


def nearest(one, other):
    return np.sqrt(((one[:, None] - other) ** 2).sum(-1)).min(1)


def reached(distances, sizes):
    """The least distance within which 95 % of the surface lie."""
    return min(d for d in distances if sizes[distances <= d + 1e-9].sum() >= (0.95 - 1e-7) * sizes.sum())


def random_masks(rng, dims):
    shape = tuple(rng.integers(3, 9 - 2 * (dims - 2), dims))
    masks = [rng.random(shape) < rng.uniform(0.1, 0.9) for _ in range(2)]
    for mask in masks:
        mask.flat[rng.integers(mask.size)] = True
    return *masks, tuple(rng.choice([0.5, 1.0, 1.5, 3.0], dims).tolist())


@pytest.mark.parametrize(("dims", "cases"), [(2, 130), (3, 70)])
def test_surface_dice_agrees_with_measuring_every_element(dims, cases):
    rng = np.random.default_rng(dims)
    for case in range(cases):
        prediction, truth, spacing = random_masks(rng, dims)
        (p, p_size), (t, t_size) = elements(prediction, spacing), elements(truth, spacing)
        tolerance = rng.choice([0.4, 1.0, 1.7])
        there, back = nearest(p, t) <= tolerance + 1e-9, nearest(t, p) <= tolerance + 1e-9
        expected = (p_size[there].sum() + t_size[back].sum()) / (p_size.sum() + t_size.sum())
        assert surface_dice(prediction, truth, spacing, tolerance) == pytest.approx(expected, abs=1e-5)
        if case % 5 == 0:
            robust = max(reached(nearest(p, t), p_size), reached(nearest(t, p), t_size))
            assert hausdorff(prediction, truth, spacing, variant="deepmind") == pytest.approx(robust, abs=1e-5)


def edge(mask):
    """Voxels of a mask with a neighbour along an axis that is not in it; outside the image is not in it."""
    padded = np.pad(mask, 1)
    around = [np.roll(padded, step, axis) for axis in range(mask.ndim) for step in (-1, 1)]
    return np.argwhere((padded & ~np.logical_and.reduce(around))[(slice(1, -1),) * mask.ndim])


@pytest.mark.parametrize("dims", [2, 3])
def test_hausdorff_agrees_with_all_pairs_of_voxels(dims):
    rng = np.random.default_rng(10 + dims)
    for case in range(100):
        prediction, truth, spacing = random_masks(rng, dims)
        p, t = edge(prediction) * spacing, edge(truth) * spacing
        there, back = nearest(p, t), nearest(t, p)
        for percentile in (95, (100, 50)[case % 2]):
            expected = max(np.percentile(there, percentile), np.percentile(back, percentile))
            assert hausdorff(prediction, truth, spacing, percentile) == pytest.approx(expected, abs=1e-5)
        if case % 4 == 0:
            pooled = hausdorff(prediction, truth, spacing, variant="pooled")
            assert pooled == pytest.approx(np.percentile([*there, *back], 95), abs=1e-5)
