import numpy as np
import pytest

from medssl.data.read.volume import make, orient
from medssl.data.reject import Rejected
from medssl.data.scan import qc

RNG = np.random.default_rng(0)


def volume(array, spacing=(1, 1, 1)):
    return make(array, np.diag([*spacing, 1.0]), "CT")


def test_copies_have_one_digest_whatever_their_number_type():
    array = RNG.integers(0, 1000, (1, 4, 4, 4))
    assert qc.digest(array.astype(np.int16)) == qc.digest(array.astype(np.float32))
    assert qc.digest(array) != qc.digest(array + 1)
    assert qc.digest(array) != qc.digest(array.reshape(1, 2, 8, 4))


def test_the_lowest_int16_has_a_digest():
    assert qc.digest(np.array([[-32768, 32767]], np.int16)) == qc.digest(np.array([[-32768, 32767]], np.int32))


def test_twins_point_to_the_first():
    assert qc.twins(["a", "b", "a", "c", "a"]) == {2: 0, 4: 0}


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((1, 3, 3, 3), 7), "constant image"),
        (np.array([1.0, np.nan]).reshape(1, 1, 1, 2), "non-finite voxels"),
    ],
)
def test_no_picture_no_image(array, reason):
    with pytest.raises(Rejected) as caught:
        qc.look(volume(array))
    assert caught.value.reason == reason


def test_notes_tell_few_slices_and_thick_ones():
    array = RNG.integers(0, 1000, (1, 7, 16, 16))
    assert qc.look(volume(array)).notes == ("few slices",)
    assert qc.look(volume(array.repeat(2, 1), (5, 1, 1))).notes == ("anisotropic",)


def test_masks_have_few_values_or_flat_patches():
    instances = np.kron(np.arange(100).reshape(10, 10), np.ones((20, 20), int))[None]
    assert qc.mask_like(np.eye(5, dtype=np.uint8)[None] * 255)
    assert qc.mask_like(instances)
    assert not qc.mask_like(RNG.integers(0, 256, (1, 32, 32)))
    assert not qc.mask_like(np.eye(5)[None] * 0.5)
    assert not qc.mask_like(np.eye(5, dtype=np.int16)[None] - 1000)


def test_one_grid_in_two_storage_orders_is_the_same_grid():
    affine = np.array([[0, 0, -1.0, 9], [0, -1, 0, 8], [2, 0, 0, 7], [0, 0, 0, 1]])
    turned = orient(make(np.zeros((1, 3, 4, 5)), affine, ""))
    assert qc.same_grid(qc.oriented_grid((3, 4, 5), affine), (turned.array.shape[1:], turned.affine))


def test_grids_half_a_voxel_apart_differ():
    affine = np.diag([2.0, 1, 1, 1])
    near, far = affine.copy(), affine.copy()
    near[2, 3], far[2, 3] = 0.4, 0.6
    grid = qc.oriented_grid((4, 4, 4), affine)
    assert qc.same_grid(grid, qc.oriented_grid((4, 4, 4), near))
    assert not qc.same_grid(grid, qc.oriented_grid((4, 4, 4), far))
    assert not qc.same_grid(grid, qc.oriented_grid((4, 4, 5), affine))
