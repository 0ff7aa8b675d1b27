"""Why a file or an image is skipped."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 2**32  # bytes of one image
UNPACKED, RATIO = 2**28, 100  # bytes; and unpacked over packed size: real images compress less
NO_IMAGE_FORMAT = "not DICOM, and not named like an image format"


def most_unpacked(held: int) -> int:
    """The bytes that a file of `held` bytes may unpack to."""
    return min(LARGEST, max(UNPACKED, RATIO * held))


class Rejected(InputError):  # noqa: N818  (a verdict about a file, listed in rejected.csv)
    """An image cannot be used: `reason` is a short phrase that is counted, `detail` the values behind it."""

    def __init__(self, reason: str, detail: str = "", where: object = "") -> None:
        self.reason, self.detail, self.where = reason, detail, where
        super().__init__(": ".join(str(part) for part in (where, reason, detail) if str(part)))

    def __reduce__(self) -> tuple[type[Rejected], tuple[str, str, object]]:
        """What another process makes it from again."""
        return type(self), (self.reason, self.detail, self.where)


def check_unpacked(wanted: int, held: int, where: object) -> None:
    """Refuse a file of `held` bytes that unpacks to far more than images do, before memory is taken for `wanted` bytes.

    Raises `Rejected`.
    """
    if wanted > most_unpacked(held):
        raise Rejected("too large", f"{held / 2**20:.0f} MiB that unpack to {wanted / 2**20:.0f} MiB", where)


def brief(error: Exception) -> str:
    """An error of another library on one short line, without any path in it, which may name a patient."""
    text = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    text = re.sub(r"(['\"])[^'\"]*[/\\][^'\"]*\1", "the file", text)
    text = re.sub(r"(?:[A-Za-z]:)?[/\\]\S*[/\\]\S+", "the file", text)
    return f"{type(error).__name__}: {' '.join(text.split())[:120]}"


@contextmanager
def rejecting(where: object) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into `Rejected`: decoders are others' code and raise anything."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise Rejected("cannot be read", brief(error), where) from error
