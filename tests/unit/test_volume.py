import numpy as np
import pytest

from medssl.data.read.volume import make, orient, plane, resample

OBLIQUE = np.array([[0.3, -0.4, 1.9, -7], [-0.5, 2.4, 0.4, 11], [3.1, 0.6, -0.2, 5], [0, 0, 0, 1.0]])


def world(affine, index):
    return (affine @ np.append(index, 1.0))[:3]


def ramp_volume(affine, shape=(9, 11, 13)):
    """A volume whose value at each voxel is a linear function of its position in mm."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    position = index @ affine[:3, :3].T + affine[:3, 3]
    return make((position @ [1.0, -2.0, 0.5])[None].astype(np.float32), affine, "CT")


def test_spacing_is_the_length_of_the_affine_columns():
    volume = make(np.zeros((1, 2, 2, 2)), np.diag([3.0, 2.0, 1.0, 1.0]), "CT")
    assert volume.spacing == (3.0, 2.0, 1.0)


def test_orient_turns_left_posterior_superior_order_around():
    # index (x,y,z) of an LPS file, as axes (R-L, A-P, S-I) the wrong way round
    affine = np.array([[-1.0, 0, 0, 4], [0, -1, 0, 5], [0, 0, 2, 6], [0, 0, 0, 1]])
    array = np.arange(24).reshape(1, 2, 3, 4)
    turned = orient(make(array, affine, "MR"))
    np.testing.assert_array_equal(turned.array[0], array[0, ::-1, ::-1].transpose(2, 1, 0))
    np.testing.assert_allclose(turned.affine, [[0, 0, 1, 3], [0, 1, 0, 3], [2, 0, 0, 6], [0, 0, 0, 1]])


@pytest.mark.parametrize("columns", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_orient_moves_no_voxel_of_an_oblique_volume(columns, flips):
    affine = OBLIQUE.copy()
    affine[:3, :3] = OBLIQUE[:3, list(columns)] * flips
    volume = ramp_volume(affine)
    turned = orient(volume)
    value = turned.array[0, 2, 3, 1]
    assert value == pytest.approx(world(turned.affine, (2, 3, 1)) @ [1.0, -2.0, 0.5], abs=1e-4)
    main = np.abs(turned.affine[:3, :3]).argmax(0)
    assert list(main) == [2, 1, 0]  # toward S, A, R
    assert all(turned.affine[row, column] > 0 for column, row in enumerate(main))
    assert sorted(turned.array.ravel()) == sorted(volume.array.ravel())


def test_orient_leaves_pictures_alone():
    picture = plane(np.zeros((1, 4, 5)), (0.2, 0.3), "CR")
    assert orient(picture) is picture


@pytest.mark.parametrize("spacing", [(1.5, 2.0, 1.0), (4.0, 2.0, 2.5), (2.2, 3.1, 0.7)])
def test_a_linear_ramp_survives_resampling_at_its_exact_positions(spacing):
    volume = ramp_volume(OBLIQUE, (20, 24, 28))
    new = resample(volume, spacing)
    np.testing.assert_allclose(new.spacing, spacing, rtol=1e-6)
    inner = [np.arange(size)[size // 4 : size - size // 4] for size in new.array.shape[1:]]  # edges repeat: left out
    index = np.stack(np.meshgrid(*inner, indexing="ij"), -1)
    position = index @ new.affine[:3, :3].T + new.affine[:3, 3]
    np.testing.assert_allclose(new.array[0][np.ix_(*inner)], position @ [1.0, -2.0, 0.5], atol=2e-3)


def test_resampling_keeps_the_centre_and_extent_of_the_field_of_view():
    volume = ramp_volume(OBLIQUE, (10, 12, 14))
    new = resample(volume, tuple(2 * length for length in volume.spacing))
    assert new.array.shape == (1, 5, 6, 7)
    old_centre = world(volume.affine, (np.array(volume.array.shape[1:]) - 1) / 2)
    np.testing.assert_allclose(world(new.affine, (np.array(new.array.shape[1:]) - 1) / 2), old_centre, atol=1e-9)


def test_strong_reduction_does_not_alias():
    stripes = np.tile([0.0, 100.0], 32).astype(np.float32)  # one voxel on, one off: mean 50
    volume = make(np.broadcast_to(stripes, (1, 8, 8, 64)).copy(), np.eye(4), "CT")
    new = resample(volume, (1.0, 1.0, 5.0))
    assert np.abs(new.array[..., 2:-2] - 50).max() < 5


def test_labels_keep_their_numbers_and_type():
    label = np.zeros((1, 8, 8, 8), np.uint8)
    label[0, 2:6, 2:6, 2:6] = 7
    new = resample(make(label, np.diag([1.0, 1, 1, 1]), ""), (0.5, 0.5, 0.5), label=True)
    assert new.array.dtype == np.uint8
    assert set(np.unique(new.array)) == {0, 7}
    assert (new.array == 7).sum() == 8 * (label == 7).sum()  # half the spacing: eight times the voxels


def test_equal_spacing_returns_the_same_volume():
    volume = make(np.zeros((1, 3, 3, 3), np.int16), np.eye(4), "CT")
    assert resample(volume, (1.0, 1.0, 1.0)) is volume


def test_pictures_resample_in_their_plane():
    picture = plane(np.arange(100, dtype=np.uint8).reshape(1, 10, 10), (1.0, 1.0), "CR")
    new = resample(picture, (2.0, 2.0))
    assert new.array.shape == (1, 5, 5)
    assert new.array[0, 0, 0] == pytest.approx(5.5)  # mean of 0, 1, 10, 11
