"""Fingerprints of images, to find near-copies whatever their names, files and caches.

A fingerprint is a z-scored thumbnail of 32 x 32 pixels of the whole image, before cropping, since crops of near-copies
differ (in 3D, of the middle slice along each axis), projected onto random directions drawn from a secret key: the
cosine of two fingerprints is close to the correlation of the thumbnails. Without the key the thumbnail cannot be
recovered. Fingerprints under different keys cannot be compared.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from medssl.data.read.volume import Volume, orient

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE = 32
DIRECTIONS = 1024  # as many as a 2D thumbnail has pixels, a third of those of 3D: fewer make the cosine imprecise
ALIKE = {"2": 0.97, "3": 0.99}  # cosine above which images are near-copies; aligned volumes of two people reach 0.97
BLOCK = 1024  # fingerprints compared at a time
_ONE_AT_A_TIME = threading.Lock()


def fingerprint(volume: Volume, key: bytes) -> str:
    """The fingerprint of an image as it was read, as text; how its axes are stored does not count."""
    thumbnail = _thumbnail(orient(volume).array)
    with _ONE_AT_A_TIME:  # else every thread would make the same directions
        directions = _directions(key, len(thumbnail))
    return _text(volume, directions @ thumbnail)


def open_fingerprint(volume: Volume) -> str:
    """The thumbnail itself, which shows the image: made in no time, to be compared in memory and never written."""
    return _text(volume, _thumbnail(orient(volume).array))


def _text(volume: Volume, found: np.ndarray) -> str:
    whole = np.rint(127 * found / max(float(np.abs(found).max()), 1e-12)).astype(np.int8)
    return f"{volume.array.ndim - 1}{base64.b64encode(whole.tobytes()).decode('ascii')}"


def pairs(prints: Sequence[str], others: Sequence[str] | None = None) -> list[tuple[int, int]]:
    """Index pairs of near-copies within `prints` (i < j), or in `prints` and `others`; empty texts match nothing."""
    found = []
    for dims, least in ALIKE.items():
        places = [[i for i, text in enumerate(texts) if text[:1] == dims] for texts in (prints, others or ())]
        one = _unit([prints[i] for i in places[0]])
        two, rows = (one, places[0]) if others is None else (_unit([others[j] for j in places[1]]), places[1])
        for start in range(0, len(one), BLOCK):
            alike = np.argwhere(one[start : start + BLOCK] @ two.T > least)
            found += [(places[0][start + i], rows[j]) for i, j in alike if others is not None or start + i < j]
    return found


def near_copies(prints: Sequence[str]) -> list[int]:
    """For each image the index of the first in its group; near-copies of near-copies are in the same group."""
    first = list(range(len(prints)))

    def root(place: int) -> int:
        while first[place] != place:
            place = first[place]
        return place

    for one, other in pairs(prints):
        low, high = sorted((root(one), root(other)))
        first[high] = low
    return [root(place) for place in range(len(prints))]


def _thumbnail(array: np.ndarray) -> np.ndarray:
    """The z-scored thumbnails, each of unit length, concatenated."""
    from PIL import Image

    flat = array.ndim == 3
    planes = [array] if flat else [array.take(n // 2, axis + 1) for axis, n in enumerate(array.shape[1:])]
    middle = [picture.mean(0, dtype=np.float32) for picture in planes]
    small = [np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for picture in middle]
    found = np.concatenate([(picture - picture.mean()).ravel() / max(float(picture.std()), 1e-6) for picture in small])
    return found / max(float(np.linalg.norm(found)), 1e-12)


@lru_cache(maxsize=4)
def _directions(key: bytes, size: int) -> np.ndarray:
    """Orthonormal rows (DIRECTIONS, size), the same for the same key."""
    seed = int.from_bytes(hashlib.sha256(b"fingerprint|" + key).digest()[:16])
    columns = np.random.default_rng(seed).standard_normal((size, DIRECTIONS))
    return np.linalg.qr(columns)[0].T.astype(np.float32)


def _unit(prints: Sequence[str]) -> np.ndarray:
    length = len(base64.b64decode(prints[0][1:])) if prints else DIRECTIONS
    found = np.zeros((len(prints), length), np.float32)
    for row, text in zip(found, prints, strict=True):
        row[:] = np.frombuffer(base64.b64decode(text[1:]), np.int8)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
