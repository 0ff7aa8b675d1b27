"""Arrays that NumPy saved, as volumes without a known spacing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.read.nifti import integers
from medssl.data.read.volume import Volume, make, plane
from medssl.data.reject import LARGEST, Rejected, brief

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".npy",)


def read(path: Path, *, label: bool = False) -> Volume:
    """Read an array (Z,Y,X) or (Y,X) of numbers; nothing in the file is run as code. Raises `Rejected`."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise Rejected("cannot be read", brief(error), path) from None
    if stored.dtype.kind not in "biuf" or stored.ndim not in (2, 3) or min(stored.shape) < 2:
        raise Rejected("not an array of 2 or 3 dimensions", f"shape {stored.shape} of {stored.dtype}", path)
    if stored.nbytes > LARGEST:
        raise Rejected("too large", f"{stored.nbytes / 2**20:.0f} MiB", path)
    array = np.array(stored)
    array = array.astype({"b": np.uint8, "f": np.float32}.get(array.dtype.kind, array.dtype.newbyteorder("=")))
    return volume(integers(array, path) if label else array)


def volume(array: np.ndarray) -> Volume:
    """A volume (1,Z,Y,X), or picture (1,Y,X), of 1 mm.

    Slices are taken to go from the feet up, and each from anterior right to posterior left, as axial ones usually do.
    """
    if array.ndim == 2:
        found = plane(array[None], (1.0, 1.0), "OT")
    else:
        affine = np.zeros((4, 4))
        affine[[2, 1, 0, 3], range(4)] = 1, -1, -1, 1
        found = make(array[None], affine, "OT")
    return found._replace(spacing_known=False)
