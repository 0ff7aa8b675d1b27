"""`medssl scan`, `prepare` and `convert`: the data verbs: their words as values, and their closing lines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medssl import api
from medssl.types import InputError


def scan(
    folders: list[Path],
    out: Path,
    *,
    labels: Path | None,
    pairs: list[str],
    table: Path | None,
    id_column: str,
    columns: str | None,
    patient_from: str | None,
    modality: str | None,
    split: str | None,
    seed: int,
    key: Path | None,
) -> None:
    """Write `out` and its companions, and print what was found and why files were left out."""
    found = api.scan(
        folders,
        out,
        labels=labels,
        pair=pairs,
        table=table,
        id=id_column,
        columns=_pairs(columns),
        patient_from=patient_from,
        modality=modality,
        split=None if split is None else _numbers(split, "--split"),
        seed=seed,
        key=key,
    )
    kinds = Counter(row.modality for row in found.rows)
    print(f"{len(found.rows)} images ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}) -> {out}")
    for reason, number in Counter(left.reason for left in found.rejected).most_common():
        print(f"  left out: {number} x {reason}")
    for notice in found.notices:
        print(f"  note: {notice}")


def prepare(
    manifest: Path,
    out: Path,
    *,
    preset: str,
    spacing: str | None,
    channels: str | None,
    label_map: str | None,
    keep_small: bool,
    rescale: str | None,
    modality: str | None,
    min_slices: int | None,
    description: str | None,
    workers: int,
) -> None:
    """Fill the cache `out` and print what it holds."""
    cache = api.prepare(
        manifest,
        out,
        preset=preset,
        spacing=None if spacing is None else _numbers(spacing, "--spacing"),
        channels=None if channels is None else channels.split(","),
        label_map=_whole_numbers(label_map),
        keep_small=keep_small,
        rescale=None if rescale is None else _numbers(rescale, "--rescale"),
        modality=modality,
        min_slices=min_slices,
        description=description,
        workers=workers,
    )
    print(f"{len(cache.ids)} volumes, {len(cache.patients)} patients -> {out}")
    for notice in cache.notices:
        print(f"  note: {notice}")


def convert(manifest: Path, out: Path) -> None:
    """Write NIfTI files and print how many."""
    written = api.convert(manifest, out)
    print(f"{len(written)} files -> {out}")


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} must be numbers with commas between them, such as 1,1,1, but '{text}' was given"
        ) from error


def _whole_numbers(text: str | None) -> dict[int, int]:
    """`255=1,7=2` -> {255: 1, 7: 2}."""
    pairs = [part.split("=") for part in text.split(",")] if text else []
    try:
        return {int(old): int(new) for old, new in pairs}
    except ValueError:
        raise InputError(
            f"--label-map must be of the form 255=1,7=2 (stored value=class number), but '{text}' was given"
        ) from None


def _pairs(text: str | None) -> dict[str, str]:
    """`class=finding,patient=subject` -> {"class": "finding", "patient": "subject"}."""
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    if any(not (name and sign and column) for name, sign, column in pairs):
        raise InputError(f"--columns must be of the form class=finding,patient=subject, but '{text}' was given")
    twice = [name for name, count in Counter(name for name, _, _ in pairs).items() if count > 1]
    if twice:
        raise InputError(f"--columns names {twice[0]} twice ('{text}'): give one column for each")
    return {name: column for name, _, column in pairs}
