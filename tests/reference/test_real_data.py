"""Laws on real images, where these are there: `shared/data` beside the repository, or the folder in MEDSSL_DATA."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from medssl.data.grid import to_array
from medssl.data.preparing.label import label_to_array
from medssl.data.preparing.settings import settings
from medssl.data.read import dicom, nifti
from medssl.data.read.volume import Volume, make, orient, resample

DATA = Path(os.environ.get("MEDSSL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images in {DATA}")]
TO_LPS = np.diag([-1.0, -1.0, 1.0])
VOLUMES = {  # several modalities; oblique, and anisotropic up to 10 to 1
    "CT": "lesions3d/open/sts/STS_002_ct_image.nii.gz",
    "MR": "lesions3d/open/sts/STS_002_mr_t1_image.nii.gz",
    "PET": "lesions3d/open/sts/STS_002_pet_image.nii.gz",
    "thick CT": "dicom/open/ct_philips_brain_5mm/dcm",
    "oblique MR": "dicom/open/mr_philips_epi_oblique/dcm",
    "hippocampus": "hippocampus/open/images/hippocampus_001.nii.gz",
}
PRESETS = {"ct": "ct", "pet": "pet"}  # by the word in the name of an image; all others are MR


def read(place: str) -> Volume:
    path = DATA / place
    if path.is_file():
        return nifti.read(path)
    series, _ = dicom.group(sorted(path.iterdir()))
    return dicom.read(series[0].files, series[0].frames)


def itk(array: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """An image of SimpleITK from (Z,Y,X) and an affine of index (z,y,x) to RAS."""
    picture = SimpleITK.GetImageFromArray(np.ascontiguousarray(array, np.float32))
    matrix = (TO_LPS @ affine[:3, :3])[:, ::-1]
    spacing = np.linalg.norm(matrix, axis=0)
    picture.SetSpacing(spacing.tolist())
    picture.SetDirection((matrix / spacing).ravel().tolist())
    picture.SetOrigin((TO_LPS @ affine[:3, 3]).tolist())
    return picture


@pytest.mark.parametrize("step", [0.6, 1.0, 1.7, 2.0, 3.0, 4.5])
@pytest.mark.parametrize("name", VOLUMES)
def test_resampling_is_that_of_simpleitk(name, step):
    """Steps of at most 2 against linear interpolation; larger ones against the same Gaussian, then linear."""
    volume = orient(read(VOLUMES[name]))
    volume = make(volume.array.astype(np.float32), volume.affine, volume.modality)
    wanted = tuple(step * mm for mm in volume.spacing) if step != 1 else (min(volume.spacing),) * 3
    steps = np.array(wanted) / volume.spacing
    if any(n / s < 3 for n, s in zip(volume.array.shape[1:], steps, strict=True)):
        wanted = tuple(
            mm if n / s < 3 else w
            for mm, n, s, w in zip(volume.spacing, volume.array.shape[1:], steps, wanted, strict=True)
        )
        steps = np.array(wanted) / volume.spacing
    ours = resample(volume, wanted)
    smooth = ndimage.gaussian_filter(volume.array[0], np.where(steps > 2, (steps - 1) / 2, 0), mode="nearest")
    grid = itk(np.zeros(ours.array.shape[1:]), ours.affine)
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(itk(smooth, volume.affine), grid, SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0)
    )
    inside = tuple(slice(1, -1) if n > 2 else slice(None) for n in theirs.shape)
    most = np.abs(ours.array[0] - theirs)[inside].max() / np.ptp(volume.array)
    assert most < 1e-3


def test_no_labelled_voxel_is_cropped_away():
    cut = {}
    for name, picture, mask in labelled():
        volume, label = nifti.read(picture), nifti.read(mask, label=True)
        preset = next((PRESETS[word] for word in PRESETS if f"_{word}_" in picture.name), "mr")
        _, geometry = to_array(volume, settings(preset, [volume.array.shape[1:]]))
        label_to_array(label, geometry)
        cut[name] = geometry["label_cut"]
    assert len(cut) > 100
    assert {name: share for name, share in cut.items() if share} == {}


def labelled() -> list[tuple[str, Path, Path]]:
    with (DATA / "lesions3d/metadata.csv").open() as file:
        found = [
            (row["image"], DATA / "lesions3d" / row["image"], DATA / "lesions3d" / row["mask"])
            for row in csv.DictReader(file)
        ]
    with (DATA / "hippocampus/metadata.csv").open() as file:
        root = DATA / "hippocampus"
        found += [(row["id"], root / row["image"], root / row["label"]) for row in csv.DictReader(file)]
    return [one for one in found if one[1].is_file() and one[2].is_file()]
