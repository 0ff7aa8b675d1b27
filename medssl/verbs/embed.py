"""`medssl embed` on the command line, with what it prints at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl.probing import embed as room
from medssl.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.probing.features import Pool


def embed(
    run: Path,
    given: list[Path],
    out: Path,
    level: int,
    pool: Pool,
    dense: bool,
    untrained: bool,
    seed: int,
    size: str | None,
    device: str,
) -> None:
    """Write features to `out`; print how many, and which inputs were skipped."""
    found = room.embed(
        run,
        given,
        out,
        level=level,
        pool=pool,
        dense=dense,
        untrained=untrained,
        seed=seed,
        size=None if size is None else _sides(size),
        device=device,
    )
    for file in found.files:
        if file.reason:
            print(f"skipped {file.source}: {file.reason}")
    left_out = sum(bool(file.reason) for file in found.files)
    kind = "maps" if dense else f"features of {len(found.names)} numbers"
    print(f"{len(found.ids)} images as {kind}, {left_out} inputs skipped -> {out}, {out.stem}.files.csv")


def _sides(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--size must be integers separated by commas, such as 64,64, but '{text}' was given"
        ) from error
