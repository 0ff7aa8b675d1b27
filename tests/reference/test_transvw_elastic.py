"""TransVW's elastic deformation against scipy, as its release composes it, at the released 64 x 64 x 32 voxels.

Released: for each of the two axes in plane, uniform noise in (-1,1) over the cube, gaussian_filter with sigma 8 and
zeros outside, times 991; the cube is sampled linearly with mirrored borders, always. Index order here is (Z,Y,X).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medssl import views
from medssl.data.cache import Case
from medssl.transforms.resampling.displacement import draw_transvw
from medssl.transforms.resampling.warp import compose
from medssl.types import InputError, Window

SIZE = (32, 64, 64)
WHOLE = Window((0, 0, 0), SIZE)


def released(rng: np.random.Generator) -> np.ndarray:
    """Displacement (2,*SIZE) along y and x."""
    noise = rng.uniform(-1, 1, (2, *SIZE))
    return np.stack([991 * ndimage.gaussian_filter(one, 8, mode="constant", cval=0) for one in noise])


def dense(grid: np.ndarray) -> np.ndarray:
    """Our points (3,*g), linear in between, at every voxel."""
    at = np.meshgrid(*[np.linspace(0, g - 1, s) for g, s in zip(grid.shape[1:], SIZE, strict=True)], indexing="ij")
    return np.stack([ndimage.map_coordinates(one, at, order=1) for one in grid])


class Whole:
    def window(self, *_: object) -> Window:
        return WHOLE


def volume() -> np.ndarray:
    noise = np.random.default_rng(5).standard_normal(SIZE)
    smooth = ndimage.gaussian_filter(noise, 2)
    return ((smooth - smooth.min()) / np.ptp(smooth))[None].astype(np.float32)


def view(seed: int):
    maker = views.build(
        spatial_dims=3, size=list(SIZE), count=1, preset="ct", faithful=True, intensity=[], corrupt=None
    )
    case = Case("X-1", SIZE, (2.0, 1.0, 1.0), 1, "CT", "ct", "p", "", (), False, ((0.0, 1.0),), WHOLE)
    return maker(volume(), case, 0, Whole(), np.random.default_rng(seed))[0]


def test_the_displacement_is_the_released_one_of_the_same_noise() -> None:
    for seed in range(3):
        ours = dense(draw_transvw(np.random.default_rng(seed), SIZE))
        theirs = released(np.random.default_rng(seed))
        assert not ours[0].any()
        np.testing.assert_allclose(ours[1:], theirs, atol=0.2)
        assert np.abs(ours[1:] - theirs).mean() < 0.03


def test_it_is_as_long_as_the_released_one() -> None:
    def mean(field: np.ndarray) -> float:
        return float(np.linalg.norm(field, axis=0).mean())

    ours = [mean(dense(draw_transvw(np.random.default_rng(seed), SIZE))) for seed in range(12)]
    theirs = [mean(released(np.random.default_rng(seed))) for seed in range(12)]
    np.testing.assert_allclose(ours, theirs, rtol=0.02)
    assert 3 < np.mean(theirs) < 5  # voxels


def test_a_faithful_view_is_always_deformed_in_plane_as_scipy_deforms_the_cube() -> None:
    cube = volume()
    for seed in range(4):
        made = view(seed)
        moved = made.drawn["warp"]
        dy, dx = dense(moved["shift"])[1:]
        z, y, x = np.indices(SIZE)
        expected = ndimage.map_coordinates(cube[0], [z, y + dy, x + dx], order=1, mode="reflect")
        np.testing.assert_allclose(made.x[0], expected, atol=2e-3)
        np.testing.assert_allclose(made.target, cube, atol=1e-6)
        assert 2 < moved["elastic_mm"] < 8
        assert np.square(made.x - made.target).mean() > 1e-3


def test_lengths_are_in_voxels_of_the_view_whatever_the_window_and_the_spacing() -> None:
    shift = np.zeros((3, 2, 2, 2))
    shift[1], shift[2] = 3.0, -2.0
    found = compose(Window((4, 4, 4), (16, 128, 32)), SIZE, (5.0, 0.5, 1.0), shift=shift)
    np.testing.assert_allclose(found.control[:, 0, 0, 0], [0, 3 * 2, -2 * 0.5])


def test_images_have_no_such_deformation() -> None:
    with pytest.raises(InputError, match="elastic is transvw, give a number"):
        views.build(spatial_dims=2, size=[8, 8], preset="xray", warp={"elastic": "transvw"})
