"""DICOM files of the usual form, read without building a data set: many times faster, and with pydicom's own values.

The usual form is a file with preamble, in little endian, whose elements are in order, whose text is ASCII, and whose
pixels are in it. `quick` gives None for any other, or any broken one, and pydicom reads that.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

START, MOST = 2**14, 2**20  # bytes read at first, and before giving up
IMPLICIT, EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"  # transfer syntaxes
RLE, JPEG = b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4."  # of packed pixels
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # value representations with 4 bytes of length
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
BINARY = ("FD", "FL", "SL", "SS", "UL", "US")
HEAD, HEAD_SHORT, LENGTH = struct.Struct("<HHI"), struct.Struct("<HH2sH"), struct.Struct("<I")
UNDEFINED, PIXELS, LUT = 0xFFFFFFFF, 0x7FE00010, 0x00283000  # a length, two tags
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
ODD = frozenset({0x5200, 0x0065})  # groups of elements: of files with several frames, and of grids of UIH
WANTED = {  # what a slice, its values and its size are read from
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "AcquisitionTime": 0x00080032,
    "ContentTime": 0x00080033,
    "Modality": 0x00080060,
    "SeriesDescription": 0x0008103E,
    "PatientID": 0x00100020,
    "EchoTime": 0x00180081,
    "EchoNumbers": 0x00180086,
    "TriggerTime": 0x00181060,
    "ImagerPixelSpacing": 0x00181164,
    "ConvolutionKernel": 0x00181210,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "AcquisitionNumber": 0x00200012,
    "InstanceNumber": 0x00200013,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "FrameOfReferenceUID": 0x00200052,
    "TemporalPositionIdentifier": 0x00200100,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "PixelRepresentation": 0x00280103,
    "BurnedInAnnotation": 0x00280301,
    "FrameType": 0x00089007,
    "EffectiveEchoTime": 0x00189082,
    "DiffusionBValue": 0x00189087,
    "DiffusionGradientOrientation": 0x00189089,
    "StackID": 0x00209056,
    "TemporalPositionIndex": 0x00209128,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
}
ELSEWHERE = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "ModalityLUTSequence")  # not here
TAGS = frozenset(WANTED.values())
Raw = dict[int, tuple[str | None, bytes]]  # tag -> value representation, None where implicit; value


class QuickHeader:
    """The elements of WANTED, with the interface of a pydicom data set; values are converted when asked for."""

    def __init__(self, raw: Raw, stored: tuple[int, int] | None) -> None:
        self.raw = raw
        self.stored = stored  # where unpacked pixels begin, and their bytes

    def get(self, name: str, usual: Any = None) -> Any:
        """The value of an element by its keyword, or `usual`."""
        if name in ELSEWHERE:
            return usual
        found = self.raw.get(WANTED[name])
        return usual if found is None else _value(WANTED[name], *found)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and WANTED.get(name) in self.raw

    def __getitem__(self, tag: Any) -> Any:
        raise KeyError(tag)  # elements with all that belongs to them are pydicom's

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or WANTED.get(name) not in self.raw:
            raise AttributeError(name)
        return self.get(name)


def quick(path: Path) -> QuickHeader | None:
    """The header of a file of the usual form, of one frame; None for any other, to be read by pydicom."""
    with path.open("rb", buffering=0) as stream:
        size, content = path.stat().st_size, stream.read(START)
        if content[128:132] != b"DICM":
            return None
        found = _parsed(content, size)
        while found is None and len(content) < min(size, MOST):
            content += stream.read(7 * len(content))
            found = _parsed(content, size)
    return found


def pixels(path: Path, header: QuickHeader) -> np.ndarray | None:
    """The stored values (Y,X) of gray pixels that are not packed; None for any other."""
    rows, columns, bits = (header.get(name) for name in ("Rows", "Columns", "BitsAllocated"))
    stored, signed = header.get("BitsStored"), header.get("PixelRepresentation")
    usual = bits in (8, 16) and signed in (0, 1) and stored is not None and 0 < stored <= bits
    gray = header.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
    if header.stored is None or not (usual and gray) or header.get("SamplesPerPixel") != 1 or not rows or not columns:
        return None
    start, length = header.stored
    wanted = rows * columns * bits // 8
    if not wanted <= length <= wanted + 1:
        return None
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        content = stream.read(wanted)
    if len(content) < wanted:
        return None
    array = np.frombuffer(content, f"<{'iu'[not signed]}{bits // 8}").reshape(rows, columns)
    return array if stored == bits else (array << (bits - stored)) >> (bits - stored)


def _parsed(content: bytes, size: int) -> QuickHeader | None:
    """The elements before the pixels; None if one is not of the usual form, or `content` ends before the pixels."""
    try:
        place = 144 + struct.unpack_from("<I", content, 140)[0]
        syntax = _syntax(content, place)
        raw: Raw = {}
        found = _elements(content, place, raw, implicit=syntax == IMPLICIT)
    except (struct.error, IndexError, RecursionError):
        return None
    if found is None or syntax is None or not _plain(raw):
        return None
    start, length = found
    packed = syntax not in (IMPLICIT, EXPLICIT)
    if not packed and (length == UNDEFINED or start + length > size):
        return None
    return QuickHeader(raw, None if packed else (start, length))


def _syntax(content: bytes, end: int) -> bytes | None:
    """The transfer syntax in the file meta information, unless elements or bytes are in another form."""
    place = 132
    while place < end:
        group, element, kind, length = struct.unpack_from("<HH2sH", content, place)
        if group != 2 or kind not in SHORT | LONG:
            return None
        if kind in LONG:
            length, place = struct.unpack_from("<I", content, place + 8)[0], place + 4
        if element == 0x10:
            found = content[place + 8 : place + 8 + length].rstrip(b"\0 ")
            known = (
                found in (IMPLICIT, EXPLICIT) or found.startswith(b"1.2.840.10008.1.2.4.") or found.endswith(b".1.2.5")
            )
            return found if known else None
        place += 8 + length
    return None


def _elements(content: bytes, place: int, raw: Raw, *, implicit: bool) -> tuple[int, int] | None:
    """Put the wanted elements into `raw`; returns where the pixels begin and their bytes, or None."""
    before, unpack = 0, (HEAD if implicit else HEAD_SHORT).unpack_from
    while True:  # as `_head`, written out: files have hundreds of elements
        group, element, *kinds, length = unpack(content, place)
        place += 8
        if kinds and kinds[0] in LONG:
            (length,), place = LENGTH.unpack_from(content, place), place + 4
        elif kinds and kinds[0] not in SHORT:
            return None
        tag = group << 16 | element
        if tag in TAGS:
            if place + length > len(content):
                return None
            raw[tag] = (kinds[0].decode() if kinds else None, content[place : place + length])
        if tag >= PIXELS:
            return (place, length) if tag == PIXELS else None
        if tag <= before or group in ODD or tag == LUT:
            return None
        place = _after_sequence(content, place, implicit) if length == UNDEFINED else place + length
        before = tag


def _head(content: bytes, place: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
    """Tag, kind, length and place of the value of the element at `place`. Raises IndexError for another form."""
    if implicit:
        group, element, length = HEAD.unpack_from(content, place)
        return group << 16 | element, None, length, place + 8
    group, element, kind, length = HEAD_SHORT.unpack_from(content, place)
    if kind in SHORT:
        return group << 16 | element, kind, length, place + 8
    if kind not in LONG:
        raise IndexError(place)
    return group << 16 | element, kind, LENGTH.unpack_from(content, place + 8)[0], place + 12


def _after_sequence(content: bytes, place: int, implicit: bool) -> int:
    """Where a sequence of undefined length ends whose items begin at `place`. Raises IndexError for another form."""
    while True:
        group, element, length = HEAD.unpack_from(content, place)
        place += 8
        if (group, element) == SEQUENCE_END:
            return place
        if (group, element) != ITEM:
            raise IndexError(place)
        place = _after_item(content, place, implicit) if length == UNDEFINED else place + length


def _after_item(content: bytes, place: int, implicit: bool) -> int:
    while HEAD.unpack_from(content, place)[:2] != ITEM_END:
        _, kind, length, place = _head(content, place, implicit)
        if length == UNDEFINED and kind not in (None, b"SQ"):
            raise IndexError(place)
        place = _after_sequence(content, place, implicit) if length == UNDEFINED else place + length
    return place + 8


def _plain(raw: Raw) -> bool:
    """Whether the elements are of one frame, no mosaic, and their text has the same letters in any character set."""
    kind = raw.get(WANTED["ImageType"], (None, b""))[1]
    if WANTED["NumberOfFrames"] in raw or b"MOSAIC" in kind or b"VFRAME" in kind or WANTED["SOPClassUID"] not in raw:
        return False
    text = [value for tag, (kind, value) in raw.items() if tag >> 16 != 0x28 and kind not in BINARY]
    return all(value.isascii() and b"\x1b" not in value for value in text)


@lru_cache(maxsize=2**14)
def _value(tag: int, kind: str | None, content: bytes) -> Any:
    """The value as pydicom converts it, once for all files that share it."""
    from pydicom.dataelem import RawDataElement, convert_raw_data_element
    from pydicom.tag import Tag

    raw = RawDataElement(Tag(tag), kind, len(content), content, 0, kind is None, True)
    return convert_raw_data_element(raw).value
