"""Features as an object and as files: .npz or .csv, and a list of which id belongs to which input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data.files import write_csv, writing
from medssl.types import InputError

if TYPE_CHECKING:
    import os

    Place = str | os.PathLike[str]

ENDINGS = (".npz", ".csv")


class File(NamedTuple):
    """The image of a row of features; or why an input has none (then `id` is empty)."""

    id: str
    source: str
    reason: str = ""


class Embedding(NamedTuple):
    """Features of N images.

    `features` is (N,D), or (N,C,*S) if dense, or a list of N maps (C,*S) if images differ in size. `names` has the
    meaning of each of the D numbers.
    """

    ids: list[str]
    features: np.ndarray | list[np.ndarray]
    names: list[str]
    files: list[File]
    about: dict[str, Any]

    def save(self, out: Place) -> Path:
        """Write `out` (.npz or .csv), and beside it a list of which id belongs to which input; returns that path.

        The features contain ids only; paths, which may name patients, are in the list.
        """
        out = Path(out)
        check_ending(out, dense=not self.names)
        (self._npz if out.suffix == ".npz" else self._csv)(out)
        listing = out.with_name(f"{out.stem}.files.csv")
        write_csv(listing, File._fields, self.files)
        return listing

    def _npz(self, path: Path) -> None:
        ragged = isinstance(self.features, list)
        arrays = dict(zip(self.ids, self.features, strict=True)) if ragged else {"features": self.features}
        with writing(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                ids=np.array(self.ids),
                names=np.array(self.names, dtype=str),
                about=np.array(json.dumps(self.about)),
                **arrays,  # type: ignore[arg-type]
            )

    def _csv(self, path: Path) -> None:
        rows = ([name, *map(repr, row.tolist())] for name, row in zip(self.ids, self.features, strict=True))
        write_csv(path, ["id", *self.names], rows)


def check_ending(out: Path, *, dense: bool) -> None:
    """Raise `InputError` for a file type that cannot hold the features."""
    if out.suffix not in ENDINGS:
        raise InputError(f"--out {out} must end in .npz or .csv")
    if dense and out.suffix == ".csv":
        raise InputError(f"--out {out}: dense maps do not fit into a table: give a name that ends in .npz")
