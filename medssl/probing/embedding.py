"""Features as an object, and as files: .npz or .csv, and beside it which id is which input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data import atomic
from medssl.types import InputError

if TYPE_CHECKING:
    import os

    Place = str | os.PathLike[str]

ENDINGS = (".npz", ".csv")


class File(NamedTuple):
    """Which image a row of features is of; or why an input has none (then `id` is empty)."""

    id: str
    source: str
    reason: str = ""


class Embedding(NamedTuple):
    """Features of N images.

    `features` is (N,D), or (N,C,*S) if dense; a list of N maps (C,*S) where images keep sizes of their own. `names`
    says what each of the D numbers is.
    """

    ids: list[str]
    features: np.ndarray | list[np.ndarray]
    names: list[str]
    files: list[File]
    about: dict[str, Any]

    def save(self, out: Place) -> Path:
        """Write `out` (.npz or .csv), and beside it which id is which input; returns the latter's path.

        The features hold ids alone; paths, which may name patients, are in the file beside them.
        """
        out = Path(out)
        check_ending(out, dense=not self.names)
        with atomic.writing(out) as beside:
            (self._npz if out.suffix == ".npz" else self._csv)(beside)
        listing = out.with_name(f"{out.stem}.files.csv")
        with atomic.writing(listing) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([File._fields, *self.files])
        return listing

    def _npz(self, path: Path) -> None:
        ragged = isinstance(self.features, list)
        arrays = dict(zip(self.ids, self.features, strict=True)) if ragged else {"features": self.features}
        with path.open("wb") as file:
            np.savez(
                file,
                ids=np.array(self.ids),
                names=np.array(self.names, dtype=str),
                about=np.array(json.dumps(self.about)),
                **arrays,  # type: ignore[arg-type]
            )

    def _csv(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["id", *self.names])
            lines.writerows([name, *map(repr, row.tolist())] for name, row in zip(self.ids, self.features, strict=True))


def check_ending(out: Path, *, dense: bool) -> None:
    """Raise `InputError` for a file that features cannot be written to."""
    if out.suffix not in ENDINGS:
        raise InputError(f"--out {out} must end in .npz or .csv")
    if dense and out.suffix == ".csv":
        raise InputError(f"--out {out}: dense maps are no table, so give a name that ends in .npz")
