"""NRRD and MetaImage files as volumes, through SimpleITK, which is imported only here and for N4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medssl.data.read.nifti import TRANSPOSE, integers
from medssl.data.read.volume import Volume, make, plane
from medssl.data.reject import Rejected, brief, check_unpacked

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def read(path: Path, *, label: bool = False) -> Volume:
    """Read an NRRD or MetaImage as (1,Z,Y,X), or (1,Y,X) if it has two dimensions or one slice. Raises `Rejected`.

    Its modality is OT, as the formats do not store one. Integers keep their dtype, floats become float32.
    """
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        raise Rejected("cannot be read", brief(error), path) from None
    array = SimpleITK.GetArrayFromImage(image)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    array = integers(array, path) if label else array
    spacing = image.GetSpacing()
    if array.ndim == 2 or 1 in array.shape:
        axes = [axis for axis, size in enumerate(array.shape) if size > 1]
        rows, columns = (spacing[::-1][axis] for axis in axes)
        return plane(array.squeeze()[None], (rows, columns), "OT")
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.reshape(image.GetDirection(), (3, 3)) @ np.diag(spacing)
    affine[:3, 3] = LPS_TO_RAS @ image.GetOrigin()
    return make(array[None], affine @ TRANSPOSE, "OT")


def _check(reader: Any, path: Path) -> None:
    """Refuse by the header what is no scalar image, or far larger than its file."""
    size = reader.GetSize()
    if reader.GetNumberOfComponents() > 1:
        raise Rejected("not a scalar image", f"{reader.GetNumberOfComponents()} values per voxel", path)
    if sum(n > 1 for n in size) not in (2, 3) or len(size) > 3:
        raise Rejected("not 2 or 3 dimensions", f"size {tuple(size)}", path)
    wanted = 8 * int(np.prod(size, dtype=object))
    detached = path.suffix.lower() in (".nhdr", ".mhd")  # the voxels lie in another file
    check_unpacked(wanted, wanted if detached else path.stat().st_size, path)
