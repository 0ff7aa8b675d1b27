"""Slices for pictures of lesions: a volume's are turned, and its boxes with them."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.finetuning.slices import box_on_slice, gray_slice
from medssl.metrics.lesions import Region


@pytest.mark.parametrize("dims", [2, 3])
def test_a_box_lies_on_what_it_was_drawn_around(dims):
    shape, box = (6, 10, 12)[-dims:], ((2, 1, 3), (4, 4, 8))
    region = Region.of_box(box[0][-dims:], box[1][-dims:])
    image = np.zeros((2, *shape), np.int16)
    image[(slice(None), *region.window)] = 100
    z = 3 if dims == 3 else None
    gray = np.asarray(gray_slice(image, ((0.0, 100.0),) * 2, z))
    (top, left), (bottom, right) = box_on_slice(region, shape, z)
    assert gray.shape == (10, 12, 3)
    assert gray[top:bottom, left:right].min() == 255
    assert (gray > 0).sum() == 3 * 5 * 3
    if dims == 3:
        assert (top, left) == (10 - 4, 12 - 8), "the slice is turned by half a turn"
        assert box_on_slice(region, shape, 4) is None


def test_a_point_has_no_box():
    assert box_on_slice(Region.of_point((1, 2)), (4, 4), None) is None
    with pytest.raises(ValueError, match="a point has no box"):
        _ = Region.of_point((1, 2)).window
