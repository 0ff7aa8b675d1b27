"""Ways in which files go wrong: cut short, bytes flipped, headers that lie, and a tree of what is no file at all."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

if TYPE_CHECKING:
    import numpy as np

WRONG = ["", "abc", "-1", "0", "1e308", "nan", "inf", "99999999999", "1\\2", "1\\2\\3\\4\\5\\6\\7", "\x00\xff", " 7 "]
TAGS = (
    "NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PixelSpacing "
    "ImagePositionPatient ImageOrientationPatient RescaleSlope RescaleIntercept InstanceNumber ImageType Modality "
    "PhotometricInterpretation PlanarConfiguration SeriesInstanceUID SOPClassUID SOPInstanceUID PatientID EchoTime "
    "SpecificCharacterSet SliceThickness WindowCenter FrameOfReferenceUID StudyInstanceUID SeriesDescription"
).split()
SHORTS = {"Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"}
NIFTI = {  # offset -> (struct, values): what a NIfTI-1 header may claim
    0: ("<i", [0, -1, 540]),
    40: ("<8h", [(3, 32767, 32767, 32767, 1, 1, 1, 1), (0,) * 8, (3, -1, 5, 5, 1, 1, 1, 1), (7, *(9,) * 7)]),
    70: ("<h", [0, 1, 128, 512, 1024, 1536, 2048, 9999]),
    76: ("<8f", [(1, 0, 0, 0, 0, 0, 0, 0), (-1, 1e-9, 1e9, 1, 1, 1, 1, 1), (1, *(float("nan"),) * 7)]),
    108: ("<f", [0.0, -5.0, 1e9, float("nan"), float("inf")]),
    112: ("<2f", [(0, 0), (float("nan"), 0), (1e38, 1e38), (float("inf"), 0)]),
    123: ("<b", [0, 1, 3, 127]),
    252: ("<2h", [(9, 9), (-1, -1), (0, 0)]),
    280: ("<4f", [(0, 0, 0, 0), (float("nan"),) * 4, (1e30,) * 4, (1, 1, 0, 0)]),
    344: ("<4s", [b"none", b"ni1\0", b"\0\0\0\0"]),
}


def dicom(content: bytes, rng: np.random.Generator) -> bytes:
    """One DICOM file gone wrong."""
    if rng.random() < 0.4:
        return _bytes(content, rng)
    data = dcmread(DicomBytesIO(content))
    for name in rng.choice(TAGS, rng.integers(1, 3), replace=False):
        _wrong(data, str(name), rng)
    stream = DicomBytesIO()
    try:
        data.save_as(stream, enforce_file_format=False)
    except Exception:  # what pydicom cannot write is mutated as bytes
        return _bytes(content, rng)
    return stream.getvalue()


def nifti(content: bytes, rng: np.random.Generator) -> bytes:
    """One NIfTI, packed or not, gone wrong."""
    packed = content[:2] == b"\x1f\x8b"
    if rng.random() < 0.4:
        return _bytes(content, rng)
    plain = bytearray(gzip.decompress(content) if packed else content)
    places = sorted(NIFTI)
    for place in rng.choice(places, rng.integers(1, 3), replace=False):
        form, values = NIFTI[int(place)]
        value = values[rng.integers(len(values))]
        struct.pack_into(form, plain, int(place), *(value if isinstance(value, tuple) else (value,)))
    if packed and rng.random() < 0.1:
        plain += bytes(2**28)  # much more than its header says
    return gzip.compress(bytes(plain), 1) if packed else bytes(plain)


def picture(content: bytes, rng: np.random.Generator) -> bytes:
    """One picture gone wrong; a PNG may promise a billion pixels, with a sound checksum."""
    if content[:4] == b"\x89PNG" and rng.random() < 0.3:
        sides = [int(side) for side in rng.choice([0, 1, 24, 65535, 2**31 - 1], 2)]
        head = b"IHDR" + struct.pack(">2I", *sides) + content[24:29]
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    return _bytes(content, rng)


def odd_tree(root: Path) -> int:
    """Pipes, sockets, devices, links and names that are no text below `root`; how many are not to be opened."""
    root.mkdir(parents=True)
    os.mkfifo(root / "pipe.dcm")
    os.symlink("/dev/zero", root / "zero.nii")
    os.symlink("loop.dcm", root / "loop.dcm")
    os.symlink("/etc", root / "out")
    os.symlink("..", root / "up")
    os.symlink("nowhere", root / "gone.png")
    place, here = socket.socket(socket.AF_UNIX), os.getcwd()
    os.chdir(root)
    place.bind("socket.dcm")
    os.chdir(here)
    place.close()
    with open(os.fsencode(root) + b"/\xe9\xff.png", "wb") as stream:
        stream.write(b"\x89PNG")
    (root / "empty.dcm").touch()
    (root / "notes.json").write_bytes("Größe".encode("latin-1"))
    return 9


def _wrong(data: Any, name: str, rng: np.random.Generator) -> None:
    element = data[name] if name in data else None
    if name in SHORTS:
        setattr(data, name, int(rng.choice([0, 1, 3, 12, 32, 64, 65535])))
    elif element is not None and rng.random() < 0.3:
        del data[name]
    else:
        kind = element.VR if element is not None else "LO"
        from pydicom.dataelem import RawDataElement
        from pydicom.tag import Tag

        value = str(rng.choice(WRONG)).encode("latin-1")
        value += b" " * (len(value) % 2)
        raw = RawDataElement(Tag(name), kind, len(value), value, 0, data.is_implicit_VR, True)
        data._dict[Tag(name)] = raw


def _bytes(content: bytes, rng: np.random.Generator) -> bytes:
    found, way = bytearray(content), rng.integers(5)
    if way == 0:
        return bytes(found[: rng.integers(len(found))])
    if way == 1:
        start = rng.integers(len(found))
        return bytes(found[:start] + rng.bytes(int(rng.integers(1, 200))) + found[start:])
    if way == 2:
        start = int(rng.integers(len(found)))
        length = min(int(rng.integers(1, 64)), len(found) - start)
        found[start : start + length] = bytes([rng.choice([0, 255])]) * length
        return bytes(found)
    ahead = len(found) if way == 3 else min(700, len(found))  # in the header above all
    for place in rng.integers(0, ahead, int(rng.integers(1, 9))):
        found[place] ^= 1 << rng.integers(8)
    return bytes(found)
