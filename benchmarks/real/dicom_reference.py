"""DICOM series read by medssl beside reference NIfTI files, voxel by voxel after orientation.

run: python benchmarks/real/dicom_reference.py DICOM/open
Each folder below holds dcm/ and ref_*/ with NIfTI files made by other tools; 4D references are taken volume by volume.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np

from medssl.data.read import dicom
from medssl.data.read.volume import Volume, make, orient
from medssl.types import InputError

EXACT = 1e-9


def main(root: Path) -> None:
    counts = {"equal": 0, "within 0.01": 0, "equal but for one factor": 0, "other": 0}
    for folder in sorted(path for path in root.iterdir() if (path / "dcm").is_dir()):
        references = [v for path in sorted(folder.glob("ref_*/*.nii.gz")) for v in _references(path)]
        found, refused = dicom.group(sorted((folder / "dcm").iterdir()))
        for series in found:
            difference, relative, shift = _closest(orient(dicom.read(series.files, series.frames)), references)
            counts[_verdict(difference, relative)] += 1
            print(f"{folder.name:34} difference {difference:.3g}, scaled {relative:.1e}, affine {shift:.1e} mm")
        for reason in sorted({reason for _, reason, _ in refused}):
            print(f"{folder.name:34} left out: {reason}")
    print(counts)


def _verdict(difference: float, relative: float) -> str:
    if difference <= EXACT:
        return "equal"
    return "within 0.01" if difference < 0.01 else "equal but for one factor" if relative < 1e-6 else "other"


def _references(path: Path) -> list[Volume]:
    image = nibabel.load(path)
    data = np.asarray(image.dataobj, dtype=np.float64)
    data = data[..., None] if data.ndim == 3 else data.reshape(*data.shape[:3], -1)
    reverse = np.eye(4)[[2, 1, 0, 3]]  # our affines map (z,y,x), NIfTI's (x,y,z)
    try:
        return [
            orient(make(v.transpose(2, 1, 0)[None], image.affine @ reverse, "OT")) for v in np.moveaxis(data, -1, 0)
        ]
    except InputError:
        return []


def _closest(volume: Volume, references: list[Volume]) -> tuple[float, float, float]:
    """To the reference that fits best: largest difference of voxels; that left after one common factor, as a share of
    the largest value (some tools write a vendor's own scale); largest difference of affines."""
    ours = volume.array.astype(np.float64)
    found = []
    for reference in references:
        if reference.array.shape != ours.shape:
            continue
        factor = float((ours * reference.array).sum() / max((reference.array**2).sum(), 1e-12))
        relative = np.abs(ours - factor * reference.array).max() / max(np.abs(ours).max(), 1e-12)
        shift = np.abs(reference.affine - volume.affine).max()
        found.append((float(np.abs(reference.array - ours).max()), float(relative), float(shift)))
    return min(found, key=lambda entry: entry[1], default=(float("inf"),) * 3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
