"""Voxel sizes as a NIfTI or Analyze header stores them: nibabel would silently make 1 mm of a zero."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

from medssl.data.reject import Rejected

LAYOUT = {348: ("8h", 40, "8f", 76), 540: ("8q", 16, "8d", 104)}  # sizeof_hdr -> dim and pixdim: format, offset
CLOSE = 0.01  # share by which the forms may differ from the stored sizes


def check_pixdim(image: Any) -> tuple[str, ...]:
    """A note where stored sizes are none, or differ from those of the sform; sizes are in stored order.

    Raises `Rejected` where there is no sform that would tell instead.
    """
    path = Path(image.file_map.get("header", image.file_map["image"]).filename)
    stored = _stored(path)
    if stored is None:
        return ()
    dims, sizes = stored
    axes = [n for n in range(min(3, len(image.shape))) if dims[n] > 1]
    none = any(not math.isfinite(sizes[n]) or sizes[n] == 0 for n in axes)
    told = "x".join(f"{mm:.4g}" for mm in sizes)
    if not hasattr(image.header, "get_sform") or not int(image.header["sform_code"]):
        if none:
            raise Rejected("no voxel size", f"the header has {told} and no sform", path)
        return (f"pixdim {told}, taken as positive",) if any(sizes[n] < 0 for n in axes) else ()
    form = image.header.get_sform()
    used = [math.sqrt(sum(float(value) ** 2 for value in form[:3, n])) for n in range(3)]
    differ = any(abs(sizes[n] - used[n]) > CLOSE * used[n] for n in axes)
    return (f"pixdim {told}, sform {'x'.join(f'{mm:.4g}' for mm in used)} used",) if none or differ else ()


def _stored(path: Path) -> tuple[list[int], list[float]] | None:
    """Dimensions and voxel sizes of the first three axes, or None for other formats."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        head = stream.read(540)
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 348 else 0
        if size in LAYOUT and len(head) >= size:
            dims, at, sizes, place = LAYOUT[size]
            shape = struct.unpack_from(f"{order}{dims}", head, at)[1:4]
            return list(shape), [float(mm) for mm in struct.unpack_from(f"{order}{sizes}", head, place)[1:4]]
    return None
