"""Which patients are for training, validation and testing."""

from __future__ import annotations

import hashlib
import json
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from medssl.messages import suggest
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NAMES = ("train", "val", "test")
SPELLINGS = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "ts"),
}
ENDINGS = (
    *(".nii.gz", ".img.gz", ".hdr.gz", ".nii", ".img", ".hdr", ".dcm", ".dicom"),
    *(".nrrd", ".nhdr", ".mha", ".mhd", ".npy"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
)
SHOWN = 3


class Named(Protocol):
    """A case that split files can name: by its id or, with the key, by its file name (it has the keyed hash)."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def stem(self) -> str: ...  # noqa: D102


def by_patient(patients: Sequence[str], fractions: Sequence[float], seed: int) -> list[str]:
    """Assign train, val or test to each item, given its patient; all items of a patient get the same.

    The shares of patients are `fractions`, rounded to whole patients, with at least one patient where a share is not
    zero and there are enough. The result depends on the set of patients and the seed, not on the order.
    """
    if not 1 < len(fractions) <= len(NAMES) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split {','.join(map(str, fractions))} must be 2 or 3 shares, 0 or more, that sum to 1")
    everyone = sorted(set(patients))
    shuffled = [everyone[place] for place in np.random.default_rng(seed).permutation(len(everyone))]
    counts = _counts(len(everyone), fractions)
    empty = [name for name, count, share in zip(NAMES, counts, fractions, strict=False) if share > 0 and not count]
    if empty:
        raise InputError(
            f"split {','.join(map(str, fractions))} leaves {' and '.join(empty)} empty with only {len(everyone)} "
            "patient(s): use fewer parts, or say who the patients are (--patient-from, or a table)"
        )
    names = [name for name, count in zip(NAMES, counts, strict=False) for _ in range(count)]
    part = dict(zip(shuffled, names, strict=True))
    return [part[patient] for patient in patients]


def part_name(text: str, where: str) -> str:
    """The name of a split: usual spellings become train, val or test, other names stay.

    Raises `InputError` for a misspelling of these.
    """
    word = text.strip().lower()
    for name, spellings in SPELLINGS.items():
        if word in spellings:
            return name
    known = [spelling for spellings in SPELLINGS.values() for spelling in spellings]
    if word.isalpha() and get_close_matches(word, known, 1, 0.75):  # a name of its own is less like these
        raise InputError(f"{where}: '{text}' is not a split{suggest(word, known)}")
    return text.strip()


def stem_of(source: str) -> str:
    """The file name without the ending of an image format; of a folder the whole name."""
    name = PurePosixPath(source).name
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def subsets(
    cases: Iterable[Named], path: Path, names: Sequence[str], hashed: Callable[[str], str] | None = None
) -> dict[str, list[str]]:
    """The sorted case ids of the subsets `names` of a split file (JSON: subset -> list of ids).

    With `hashed`, which gives the keyed hash of a file name, entries may also be file names. Raises `InputError` if the
    file lacks a subset, or an entry matches no case.
    """
    lists, cases = read(path), list(cases)
    chosen = {}
    for name in names:
        if name not in lists:
            raise InputError(f"{path} has no subset '{name}'{suggest(name, lists)}")
        chosen[name] = _resolve(cases, lists[name], f"subset '{name}' of {path}", hashed)
    return chosen


def with_ids(path: Path, named: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """A split file with ids in place of names; `named` has all names of each id: file names, and the id itself.

    Raises `InputError` for any other name.
    """
    cases = [Plain(case, name) for case, names in named.items() for name in names]
    return {name: _resolve(cases, wanted, f"subset '{name}' of {path}", str) for name, wanted in read(path).items()}


class Plain(NamedTuple):
    """A case with its file name, which is not secret beside the manifest."""

    id: str
    stem: str


def _resolve(
    cases: Sequence[Named], wanted: Sequence[str], where: str, hashed: Callable[[str], str] | None
) -> list[str]:
    known: dict[str, list[str]] = {}
    for case in cases:
        for name in {case.id, case.stem} - {""}:
            known.setdefault(name, []).append(case.id)
    salts = sorted({case.stem.partition("-")[0] for case in cases if "-" in case.stem})
    found = {name: _of(known, name, salts, hashed) for name in wanted}
    lost = [name for name, ids in found.items() if not ids]
    if lost:
        raise InputError(
            f"{where}: {len(found) - len(lost)} of {len(found)} names match a case, but not "
            f"{', '.join(lost[:SHOWN])}{' and others' if len(lost) > SHOWN else ''}: "
            "give ids of the manifest; for file names, convert the file with `medssl prepare --splits FILE`, or give "
            "the run data.key=FILE (the .key file beside the manifest)"
        )
    return sorted({case for ids in found.values() for case in ids})


def _of(known: dict[str, list[str]], name: str, salts: Sequence[str], hashed: Callable[[str], str] | None) -> list[str]:
    keys = [name, *([hashed(stem_of(name))] if hashed else []), *(_salted(salt, stem_of(name)) for salt in salts)]
    return [case for key in dict.fromkeys(keys) for case in known.get(key, [])]


def _salted(salt: str, stem: str) -> str:
    """The hash of a file name in caches of earlier versions, which needs no key."""
    return f"{salt}-{hashlib.sha256((salt + stem).encode()).hexdigest()[:12]}"


def read(path: Path) -> dict[str, list[str]]:
    """A split file: subset -> names. Raises `InputError`."""
    if not Path(path).is_file():
        raise InputError(f"there is no split file at {path}: data.splits names a JSON file, subset -> list of cases")
    try:
        lists = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): data.splits names a JSON file") from None
    if not isinstance(lists, dict) or not all(isinstance(names, list) for names in lists.values()):
        raise InputError(f"{path} must contain one object of the form subset -> list of cases")
    return lists


def _counts(patients: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `patients`: by largest remainders, then at least one where a share is above 0."""
    exact = np.asarray(fractions) * patients
    counts = np.floor(exact + 1e-9).astype(int)
    for place in np.argsort(counts - exact, kind="stable")[: patients - counts.sum()]:
        counts[place] += 1
    for place in range(len(counts)):
        if counts[place] == 0 and fractions[place] > 0 and counts.max() > 1:
            counts[np.argmax(counts)] -= 1
            counts[place] += 1
    return [int(count) for count in counts]
