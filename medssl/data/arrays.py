"""The array files of a cache: their paths, how they are written, their checksums, and the types of their numbers."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from typing import TYPE_CHECKING

import blosc2
import numpy as np

from medssl.data.files import writing

if TYPE_CHECKING:
    from pathlib import Path

# Measured by benchmarks/cache.py: with 64^3 chunks of 32^3 blocks in lz4, a 96^3 crop costs about 4 memmap slices.
CHUNK, BLOCK = {2: 512, 3: 64}, {2: 128, 3: 32}


def image_file(cache: Path, name: str) -> Path:
    """Path of the image of a case."""
    return cache / "arrays" / f"{name}.b2nd"


def label_file(cache: Path, name: str) -> Path:
    """Path of the label of a case."""
    return cache / "arrays" / f"{name}.label.b2nd"


def write_array(file: Path, array: np.ndarray) -> str:
    """Write an array (C,*S) compressed, whole or not at all; returns the digest of its content."""
    dims = array.ndim - 1
    array = np.ascontiguousarray(array)
    chunks = (array.shape[0], *(min(CHUNK[dims], n) for n in array.shape[1:]))
    blocks = (array.shape[0], *(min(BLOCK[dims], n) for n in array.shape[1:]))
    cparams = blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, filters=[blosc2.Filter.SHUFFLE], nthreads=1)
    with writing(file) as partial:
        try:
            blosc2.asarray(array, chunks=chunks, blocks=blocks, urlpath=str(partial), mode="w", cparams=cparams)
        except RuntimeError as error:
            why = errno.ENOSPC if shutil.disk_usage(file.parent).free < array.nbytes else errno.EIO
            raise OSError(why, os.strerror(why), str(file)) from error
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()


def compact(array: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest integer type that holds them; other numbers as they are."""
    if array.dtype.kind not in "biu":
        return array
    return array.astype(np.result_type(*(np.min_scalar_type(int(edge)) for edge in (array.min(), array.max()))))


def file_digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
