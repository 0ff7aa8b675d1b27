"""Affines: a plane in space keeps its place in the world, and one grid has one spacing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from medssl.crop.transforms import RandResizedCropd
from medssl.transforms.resampling.displacement import rotation
from medssl.transforms.spatial import RandAffineWarpd, RandElasticWarpd
from medssl.types import InputError

SAGITTAL = np.array([[0, 0, 2.0, 5], [0, 0.7, 0, 3], [3.0, 0, 0, -4], [0, 0, 0, 1]])  # axes: up, then forward
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation((20.0, 35.0, -50.0), 3) @ np.diag([1.5, 0.5, 4.0])
PLANAR = np.array([[0, 0.7, 3], [-2.0, 0, 5], [0, 0, 1]])
PLANES = [(SAGITTAL, (3.0, 0.7)), (OBLIQUE, (1.5, 0.5)), (PLANAR, (2.0, 0.7))]


def world(affine: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """World coordinates (D,*shape) of the voxels of a plane."""
    index = np.indices(shape).reshape(2, -1)
    return (affine[:-1, :2] @ index + affine[:-1, -1:]).reshape(-1, *shape)


@pytest.mark.parametrize(("affine", "spacing"), PLANES)
@pytest.mark.parametrize(
    "transform",
    [
        RandAffineWarpd("x", flip=1.0, rotate=5, zoom=0, size=(30, 26)),
        RandAffineWarpd("x", rotate=20, zoom=0.2, turn=True, size=(12, 18)),
        RandResizedCropd("x", size=(11, 9), scale=(0.1, 0.3)),
    ],
)
def test_a_plane_in_space_keeps_its_place(affine: np.ndarray, spacing: tuple[float, ...], transform) -> None:
    """The image holds its own world coordinates, which are linear: so must what is seen of it."""
    plane = MetaTensor(world(affine, (40, 50)), affine=torch.from_numpy(affine))
    seen = transform.set_random_state(2)({"x": plane})["x"]
    np.testing.assert_allclose(transform.drawn["spacing"], spacing)
    expected = world(seen.affine.numpy(), tuple(seen.shape[1:]))
    w = transform.map(tuple(plane.shape), transform.drawn)
    source = np.tensordot(w.matrix, np.indices(w.size), 1) + w.offset[:, None, None]
    inside = ((source > 3) & (source < np.array([36, 46])[:, None, None])).all(0)  # blocks repeat the border
    assert inside.mean() > 0.3
    np.testing.assert_allclose(seen.numpy()[:, inside], expected[:, inside], atol=2e-3)


def test_the_spacing_is_that_of_the_first_key_that_knows_one() -> None:
    x = np.random.default_rng(0).random((1, 8, 9, 10), dtype=np.float32)
    known = MetaTensor(x, affine=torch.diag(torch.tensor([3.0, 1.0, 2.0, 1.0])))
    for data in ({"a": x, "b": known}, {"a": known, "b": x}):
        transform = RandElasticWarpd(["a", "b"], elastic=1.0)
        transform(data)
        assert transform.drawn["spacing"] == (3.0, 1.0, 2.0)
    rounded = MetaTensor(x, affine=torch.diag(torch.tensor([3.0005, 1.0, 2.0, 1.0])))
    RandAffineWarpd(["a", "b"])({"a": known, "b": rounded})


def test_keys_of_other_spacing_are_no_grid_unless_the_spacing_is_given() -> None:
    x = np.zeros((1, 8, 9, 10), np.float32)
    data = {"a": MetaTensor(x), "b": MetaTensor(x, affine=torch.diag(torch.tensor([3.0, 1.0, 1.0, 1.0])))}
    with pytest.raises(InputError, match=r"have spacings .* one grid"):
        RandAffineWarpd(["a", "b"])(data)
    assert RandAffineWarpd(["a", "b"], spacing=(1, 1, 1))(data)["b"].shape == x.shape


@pytest.mark.parametrize("make", [RandAffineWarpd, RandElasticWarpd, RandResizedCropd])
@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.diag([1.0, 0.0, 1.0, 1.0]), "voxel spacing of"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "voxel spacing of"),
        (np.eye(2), "affine of shape"),
    ],
)
def test_an_affine_without_lengths_is_refused(make, affine: np.ndarray, said: str) -> None:
    plane = MetaTensor(np.ones((1, 12, 12), np.float32), affine=torch.from_numpy(affine))
    with pytest.raises(InputError, match=said):
        make("x", size=(8, 8))({"x": plane})


def test_keys_whose_axes_point_elsewhere_are_no_grid() -> None:
    image, label = (MetaTensor(torch.rand(1, 8, 8, 8), affine=np.diag([x, 1.0, 1, 1])) for x in (1.0, -1.0))
    with pytest.raises(InputError, match="label has other axis directions than the first key"):
        RandAffineWarpd(["image", "label"])({"image": image, "label": label})
    rounded = MetaTensor(torch.rand(1, 8, 8, 8), affine=np.eye(4) + 1e-4 * np.eye(4)[::-1])
    assert set(RandAffineWarpd(["image", "label"])({"image": image, "label": rounded})) == {"image", "label"}
