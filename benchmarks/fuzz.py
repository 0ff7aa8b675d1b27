"""Broken files by the thousand, in one tree, through scan, convert and prepare, and what is asked of these.

run: python benchmarks/fuzz.py WORK [--dicom 5000] [--other 1200] [--seed 0] [--alone 200]

Every verb must end with 0 or 2, take under 2 s per file and under 1 GB of memory beyond an empty tree, and every file
must be in the manifest or in rejected.csv. `--alone` files are also scanned one by one. Ends with 1 if anything fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuzzing import mutate, seeds

from medssl.data.files import read_csv, read_lines

SECONDS, BYTES = 2.0, 1e9
PRESETS = {"CT": "ct", "MR": "mr", "CR": "xray", "US": "ultrasound", "OT": "mr"}


class Ran(NamedTuple):
    """How one command ended."""

    name: str
    code: int
    seconds: float  # of processor time, so that other work on the machine does not count
    bytes: int  # peak of resident memory
    text: str


def plant(root: Path, dicom: int, other: int, seed: int) -> int:
    """A tree of mutated files, beside or in place of whole ones, and of what is no file; how many files it has."""
    rng = np.random.default_rng(seed)
    broken = 0
    for folder in range(-(-dicom // len(seeds.dicoms(rng, 0)))):
        for number, content in enumerate(seeds.dicoms(rng, folder)):
            place = root / f"d{folder}"
            if folder % 2 and broken < dicom:
                _write(place / f"{number}.dcm", mutate.dicom(content, rng))
            else:
                _write(place / f"{number}.dcm", content)
                _write(place / f"{number}_copy.dcm", mutate.dicom(content, rng))
            broken += 1
    pictures = seeds.others(rng)
    names = sorted(pictures)
    for number in range(other):
        name = names[number % len(names)]
        content = (mutate.nifti if ".nii" in name else mutate.picture)(pictures[name], rng)
        _write(root / f"o{number % 20}" / f"{number}_{name}", content)
        if number < len(names):
            _write(root / "whole" / name, pictures[name])
    mutate.odd_tree(root / "odd")
    return sum(len(files) for _, _, files in os.walk(root))


def unaccounted(root: Path, manifest: Path) -> list[str]:
    """The files below `root` that are neither in the manifest nor in rejected.csv."""
    told = {name for entry in read_lines(manifest.with_suffix(".files.jsonl")) for name in entry["files"]}
    left = {record["source"] for record in read_csv(manifest.with_name("rejected.csv"))}
    kinds = [name for name in left if name.startswith("*")]
    here = [
        os.fsencode(os.path.relpath(Path(place, name), root)).decode("utf-8", "backslashreplace")
        for place, _, files in os.walk(root)
        for name in files
    ]
    return [n for n in here if n not in told and n not in left and not any(fnmatch(n, kind) for kind in kinds)]


def run(name: str, *words: str) -> Ran:
    """A command of medssl in a process of its own."""
    log = Path(words[-1]).with_suffix(".log")
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-m", "medssl.cli", *words], stdout=stream, stderr=stream)
        _, status, used = os.wait4(process.pid, 0)
    text = log.read_text(errors="replace")
    seconds = used.ru_utime + used.ru_stime
    return Ran(name, os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss * 1024, text)


def faults(ran: Ran, files: int, base: int) -> list[str]:
    """What is wrong with how a command ended."""
    found = {
        f"exit {ran.code}: {ran.text[-400:]}": ran.code not in (0, 2) or "fault of medssl" in ran.text,
        f"{ran.seconds / files:.2f} s per file": ran.seconds > SECONDS * files,
        f"{(ran.bytes - base) / 1e9:.2f} GB": ran.bytes - base > BYTES,
    }
    return [f"{ran.name}: {text}" for text, wrong in found.items() if wrong]


def alone(root: Path, work: Path, count: int, seed: int) -> list[str]:
    """Scan files one by one, each in a folder of its own; what went wrong."""
    from medssl import InputError, scan

    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    found = []
    for number in np.random.default_rng(seed).permutation(len(files))[:count]:
        place = work / "alone" / str(number)
        _write(place / "in" / files[number].name, files[number].read_bytes())
        start = time.process_time()
        try:
            scan(place / "in", place / "m.csv")
        except InputError:
            pass
        except Exception as error:
            found.append(f"alone: {files[number].name}: {type(error).__name__}: {error}")
        if time.process_time() - start > SECONDS:
            found.append(f"alone: {files[number].name}: {time.process_time() - start:.1f} s")
    return found


def everything(work: Path, dicom: int, other: int, seed: int, one_by_one: int) -> tuple[list[str], dict[str, Any]]:
    """Plant the tree and run all commands; what failed, and figures."""
    root, manifest = work / "tree", work / "m.csv"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # a child's peak would begin with ours
        files = apart.submit(plant, root, dicom, other, seed).result()
    (work / "empty").mkdir()
    base = run("nothing", "scan", str(work / "empty"), "--out", str(work / "none.csv"))
    first = run("scan", "scan", str(root), "--out", str(manifest))
    ran = [first]
    if first.code == 0:
        ran.append(run("convert", "convert", str(manifest), "--out", str(work / "converted")))
        for modality, preset in PRESETS.items():
            words = ["prepare", str(manifest), "--preset", preset, "--modality", modality]
            ran.append(run(f"prepare {modality}", *words, "--out", str(work / f"cache-{modality}")))
    wrong = [text for one in ran for text in faults(one, files, base.bytes)]
    wrong += [f"not accounted for: {name}" for name in (unaccounted(root, manifest) if first.code == 0 else [])]
    wrong += alone(root, work, one_by_one, seed)
    figures = {
        one.name: f"exit {one.code}, {one.seconds:.1f} s, {one.bytes / 1e6:.0f} MB, {one.text.splitlines()[0]}"
        for one in [base, *ran]
    }
    return wrong, {"files": files, **figures}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path)
    for option, usual in {"dicom": 5000, "other": 1200, "seed": 0, "alone": 200}.items():
        parser.add_argument(f"--{option}", type=int, default=usual)
    given = parser.parse_args()
    given.work.mkdir(parents=True)
    bad, told = everything(given.work.resolve(), given.dicom, given.other, given.seed, given.alone)
    print("\n".join(f"{name}: {value}" for name, value in told.items()))
    print("\n".join(bad) or "nothing failed")
    raise SystemExit(bool(bad))
