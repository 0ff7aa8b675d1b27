"""The prepared data set: a folder of compressed arrays in chunks, so that a crop is read without the rest.

`cache.json` (settings, counts), `cases/<id>.json` (one per image, written last, so that a case exists only when it is
complete), `arrays/<id>.b2nd` and `arrays/<id>.label.b2nd`. It holds no path and no name from the source.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import blosc2
import numpy as np

from medssl.data.arrays import file_digest, image_file, label_file, write_array
from medssl.data.files import write_json
from medssl.types import Box, InputError, Window

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 2  # 1 scaled intensities by another rule (see presets.RANGE) and had no `spacing_known`


UNFINISHED: Mapping[str, Any] = {"cases": 0, "rejected": {}, "left_out": {}, "notices": []}  # until all is prepared


class Case(NamedTuple):
    """One cached image: what is known without opening its array, whose spatial shape is S."""

    id: str
    shape: tuple[int, ...]  # S
    spacing: tuple[float, ...]  # mm, index order
    channels: int
    modality: str
    preset: str
    patient: str  # keyed hash
    split: str
    classes: tuple[str, ...]
    has_label: bool
    intensity: tuple[tuple[float, float], ...]  # (low, high) per channel: the stored values that views map to 0 and 1
    foreground: Window  # box of body, head or film inside the array
    boxes: tuple[Box, ...] = ()
    stem: str = ""  # keyed hash of the source's stem: who has the key can name cases by it in split files
    table: Mapping[str, str] = {}
    fingerprint: str = ""  # see medssl.data.fingerprint; comparable under one key
    patient_known: bool = True  # False: guessed from labels and names
    spacing_known: bool = True  # False: the source does not say, and 1 mm is assumed
    looked: str = ""  # how it was searched for lesions: boxes, none (nothing found); empty: not known


class Cache:
    """A cache that `prepare` wrote. Arrays are opened at each read, so it may be forked, pickled and shared.

    Raises:
        InputError: there is no cache, it has another format, its preparation was interrupted, or it is damaged.
    """

    def __init__(self, path: str | Path, *, waiting: int = 0) -> None:
        self.path, self.waiting = Path(path), waiting  # images that other shards have yet to prepare
        self.settings = {**UNFINISHED, **read_settings(self.path)}
        if not self.settings["complete"] and not waiting:
            raise InputError(f"the preparation of {self.path} was interrupted: run the same `medssl prepare` again")
        records = {file.stem: read_record(file) for file in sorted((self.path / "cases").glob("*.json"))}
        if len(records) != self.settings["cases"] and not waiting:
            raise InputError(
                f"cache {self.path} has {len(records)} cases but was written with {self.settings['cases']}: "
                "run the same `medssl prepare` again"
            )
        self.cases: dict[str, Case] = {name: case_from_json(record["case"]) for name, record in records.items()}
        self.preprocessing: dict[str, Any] = self.settings["preprocessing"]
        self.rejected: dict[str, str] = self.settings["rejected"]  # id -> reason
        self.left_out: dict[str, int] = self.settings["left_out"]  # files by reason, including those of the scan
        self.notices: list[str] = self.settings["notices"]  # what looked odd while preparing
        self._files = {name: record.get("files", {}) for name, record in records.items()}
        self._sound: set[Path] = set()  # arrays whose checksum was verified
        self._geometry = {name: record["geometry"] for name, record in records.items()}
        digests = [[name, record["digest"]] for name, record in records.items()]
        self.hash: str = sha256(json.dumps([self.preprocessing, digests], sort_keys=True).encode())

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def fingerprint_key(self) -> str:
        """Equal for caches whose fingerprints can be compared; empty if the cache has none."""
        return str(self.settings.get("fingerprint_key", ""))

    @property
    def ids(self) -> list[str]:
        """All ids, sorted."""
        return list(self.cases)

    @property
    def patients(self) -> set[str]:
        """Keyed hashes of the patients."""
        return {case.patient for case in self.cases.values()}

    def image(self, name: str) -> blosc2.NDArray:
        """The image (C,*S) in stored units; slicing reads only the chunks it touches."""
        return self._open(name, image_file(self.path, name), self._case(name).channels)

    def label(self, name: str) -> blosc2.NDArray:
        """The label (1,*S), integers. Raises InputError if the case has none."""
        if not self._case(name).has_label:
            raise InputError(f"case {name} of {self.path} has no label: scan with --labels or --pair, prepare again")
        return self._open(name, label_file(self.path, name), 1)

    def geometry(self, name: str) -> dict[str, Any]:
        """What `grid.to_source` needs to map a mask of this case back to the source grid."""
        self._case(name)
        return self._geometry[name]

    def _case(self, name: str) -> Case:
        if name not in self.cases:
            raise InputError(f"cache {self.path} has no case {name}: its {len(self.cases)} cases are files in cases/")
        return self.cases[name]

    def _open(self, name: str, file: Path, channels: int) -> blosc2.NDArray:
        shape = (channels, *self.cases[name].shape)
        try:
            self._check(file, self._files[name].get(file.name.removeprefix(name)))
            array = blosc2.open(str(file), mode="r", dparams=blosc2.DParams(nthreads=1))
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(
                f"array {file} cannot be read: delete it and cases/{name}.json, and run the same `medssl prepare` again"
            ) from error
        if tuple(array.shape) != shape:
            raise InputError(
                f"array {file} has shape {array.shape}, but its case says {shape}: delete the cache and prepare again"
            )
        return array

    def _check(self, file: Path, wanted: str | None) -> None:
        """Verify the checksum of an array, once; caches of earlier versions have none."""
        if wanted is None or file in self._sound:
            return
        if file_digest(file) != wanted:
            raise InputError(f"array {file} is damaged (its checksum differs): run the same `medssl prepare` again")
        self._sound.add(file)


class Reading:
    """An array (C,*S) that raises `InputError` where reading fails; errors elsewhere are faults of the code."""

    def __init__(self, array: Any, of: str) -> None:
        self.array, self.of, self.shape = array, of, tuple(array.shape)

    def __getitem__(self, box: Any) -> np.ndarray:
        """Read a box. Raises InputError."""
        try:
            return np.asarray(self.array[box])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.of} cannot be read ({error}): delete its array and prepare again") from error


def sha256(content: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(content).hexdigest()


def is_whole(cache: Path, name: str) -> bool:
    """Whether a case exists and its arrays match their checksums."""
    try:
        files = read_record(cache / "cases" / f"{name}.json").get("files", {})
        return all(file_digest(cache / "arrays" / f"{name}{end}") == digest for end, digest in files.items())
    except (OSError, InputError):
        return False


def write_case(cache: Path, case: Case, image: np.ndarray, label: np.ndarray | None, geometry: dict[str, Any]) -> None:
    """Write one case: first its arrays, then its record, without which it does not exist."""
    digest = {"image": write_array(image_file(cache, case.id), image)}
    if label is not None:
        digest["label"] = write_array(label_file(cache, case.id), label)
    content = {**case._asdict(), "foreground": case.foreground._asdict(), "boxes": [b._asdict() for b in case.boxes]}
    files = [image_file(cache, case.id), *([label_file(cache, case.id)] if label is not None else [])]
    sums = {file.name.removeprefix(case.id): file_digest(file) for file in files}
    record = {"format": FORMAT, "case": content, "geometry": geometry, "digest": digest, "files": sums}
    write_json(cache / "cases" / f"{case.id}.json", record)


def read_settings(cache: Path) -> dict[str, Any]:
    """The content of cache.json. Raises `InputError` if it is missing or has another format."""
    file = cache / "cache.json"
    if not file.is_file():
        raise InputError(f"{cache} is not a cache (it has no cache.json): make one with `medssl prepare`")
    return _read(file)


def read_record(file: Path) -> dict[str, Any]:
    """The record of one case: case, geometry, digest."""
    return _read(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        found = content["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: delete it and run the same `medssl prepare` again") from error
    if found != FORMAT:
        raise InputError(f"{file} has format {found}, this medssl reads format {FORMAT}: prepare into a new folder")
    return content


def case_from_json(content: dict[str, Any]) -> Case:
    """A case from JSON, which has neither tuples nor windows."""
    window = content["foreground"]
    tuples = {name: tuple(content[name]) for name in ("shape", "spacing", "classes")}
    tuples["intensity"] = tuple((low, high) for low, high in content["intensity"])
    tuples["foreground"] = Window(tuple(window["start"]), tuple(window["size"]))
    tuples["boxes"] = tuple(
        Box(**{**box, "start": tuple(box["start"]), "stop": tuple(box["stop"])}) for box in content["boxes"]
    )
    return Case(**{**content, **tuples})
