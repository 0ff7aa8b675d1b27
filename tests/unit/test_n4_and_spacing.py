"""`prepare --n4`, `--spacing median` and `--spacing 'like RUN'`."""

import nibabel
import numpy as np
import pytest

from medssl import api_data
from medssl.data.cache import Cache
from medssl.data.prepare import prepare
from medssl.data.preparing import n4
from medssl.data.read.volume import make
from medssl.data.scan.scan import scan
from medssl.types import InputError


def shaded(size=32):
    """A ball of two tissues, and the same under a linear shading."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    radius = np.linalg.norm(grid, axis=0)
    clean = np.where(radius < 0.8, 100.0, 0) + np.where(radius < 0.4, 50.0, 0)
    return clean, clean * (1 + 0.4 * grid[2]), (radius < 0.75) & (radius > 0.45)


def test_n4_makes_one_tissue_even_and_keeps_the_contrast():
    clean, dark, ring = shaded()
    fixed = n4.corrected(make(dark[None], np.eye(4), "MR")).array[0]
    before, after = (float(image[ring].std() / image[ring].mean()) for image in (dark, fixed))
    assert after < before / 3
    core = np.where(clean == 150)
    assert fixed[core].mean() / fixed[ring].mean() == pytest.approx(1.5, rel=0.05)


def test_n4_is_the_same_twice_and_does_not_depend_on_the_unit():
    _, dark, _ = shaded(24)
    one, two, other = (n4.corrected(make((a * dark)[None], np.eye(4), "MR")).array for a in (1, 1, 10))
    np.testing.assert_array_equal(one, two)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999


def save(path, affine, shape=(20, 22, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(len(path.stem)).integers(1, 900, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


@pytest.fixture
def manifest(tmp_path):
    """Three images: x, y, z spacings 1, 1, 2; 1, 1, 3; and 1, 1, 9, stored coronal."""
    save(tmp_path / "in/a.nii.gz", np.diag([1.0, 1, 2, 1]))
    save(tmp_path / "in/bb.nii.gz", np.diag([1.0, 1, 3, 1]))
    coronal = np.diag([1.0, 9, 1, 1])[:, [0, 2, 1, 3]]  # stored axes x, z, y; 9 mm from front to back
    save(tmp_path / "in/ccc.nii.gz", coronal, (20, 24, 22))
    scan([tmp_path / "in"], tmp_path / "m.csv", modality="MR")
    return tmp_path / "m.csv"


def test_the_median_is_that_of_axes_in_the_body(manifest, tmp_path):
    cache = prepare(manifest, tmp_path / "cache", preset="mr", spacing="median")
    assert cache.preprocessing["spacing"] == [2.0, 1.0, 1.0]  # of S: 2, 3, 1; of A: 1, 1, 9
    again = prepare(manifest, tmp_path / "cache", preset="mr", spacing="median")
    assert again.ids == cache.ids


def test_a_cache_with_n4_says_so_and_is_not_continued_without(manifest, tmp_path):
    plain = prepare(manifest, tmp_path / "plain", preset="mr")
    assert "n4" not in plain.preprocessing
    cache = prepare(manifest, tmp_path / "cache", preset="mr", n4=True)
    assert cache.preprocessing["n4"] is True
    assert isinstance(cache, Cache)
    with pytest.raises(InputError, match="prepared with n4 True, not None"):
        prepare(manifest, tmp_path / "cache", preset="mr")
    with pytest.raises(InputError, match="--n4 corrects the shading of MR"):
        prepare(manifest, tmp_path / "other", preset="pet", n4=True, modality="MR")


def test_like_takes_the_spacing_of_a_run(manifest, tmp_path, monkeypatch):
    from medssl.runtime import init_weights

    monkeypatch.setattr(init_weights, "find", lambda where: tmp_path / where)
    monkeypatch.setattr(init_weights, "about", lambda path: {"preprocessing": {"spacing": [3.0, 2.0, 2.0]}})
    cache = api_data.prepare(manifest, tmp_path / "cache", preset="mr", spacing="like run")
    assert cache.preprocessing["spacing"] == [3.0, 2.0, 2.0]
    with pytest.raises(InputError, match="isotropic, median or like RUN"):
        api_data.prepare(manifest, tmp_path / "x", preset="mr", spacing="mean")
