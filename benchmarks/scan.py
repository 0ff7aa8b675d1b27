"""Scan, manifest and preparation against what others need for the same: ratios, measured in turn in one run.

run: python benchmarks/scan.py scan WORK [--files 2000] [--rounds 3]
     python benchmarks/scan.py rows WORK [--rows 1000000]
     python benchmarks/scan.py prepare WORK [--rounds 3]

`scan` compares `medssl scan` with a plain loop of pydicom's dcmread(stop_before_pixels=True) over the same warm files,
made from pydicom's CT_small.dcm with UIDs and positions of their own, 40 slices a series. `rows` reads a manifest,
splits and groups it and lists the jobs of prepare. `prepare` compares `medssl prepare` of one volume with SimpleITK's
reading and resampling. Each measurement is a process of its own, so that peaks of memory are its own too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import cores

SLICES = 40  # of a series
SHAPE, MM = (160, 320, 320), (2.0, 0.8, 0.8)  # of the volume to prepare
TARGET = (2.5, 1.2, 1.2)  # mm


def plant(folder: Path, count: int) -> None:
    """`count` files of series of SLICES slices."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file
    from pydicom.uid import generate_uid

    data: Any = dcmread(get_testdata_file("CT_small.dcm"))
    series = ""
    for number in range(count):
        if number % SLICES == 0:
            series = generate_uid()
            data.PatientID, data.StudyInstanceUID = f"{number:08d}", generate_uid()
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.InstanceNumber = series, number % SLICES + 1
        data.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * (number % SLICES)]
        place = folder / f"{number // SLICES:05d}" / f"{number % SLICES:03d}.dcm"
        place.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(place)


def plain(folder: Path) -> None:
    """What is measured against: the headers alone, one after the other."""
    from pydicom import dcmread

    for path in folder.rglob("*.dcm"):
        dcmread(path, stop_before_pixels=True)


def scanned(folder: Path, workers: int) -> None:
    """Scan in this process, with its imports done."""
    from medssl.data.scan.scan import scan

    out = folder.with_name("m") / "m.csv"
    scan([folder], out, workers=workers)
    shutil.rmtree(out.parent)


def listed(count: int) -> None:
    """Read a manifest of `count` rows, split it by patient, group its channels, and list the jobs of prepare."""
    from medssl.data import manifest, split, stack

    found = manifest.read(Path("rows.csv"))
    split.by_patient([row.patient for row in found.rows], (0.7, 0.1, 0.2), 0)
    for channels in (None, ("T1", "T2")):
        jobs, _ = stack.groups(found, channels)
        assert len(jobs) == count // (2 if channels else 1)


def rows(count: int) -> None:
    """A manifest of `count` images, two channels a study."""
    from medssl.data import manifest

    found = [
        manifest.Row(
            id=f"mr-{number:012x}",
            image=f"p{number // 4}/s{number // 2}/{number}_{'T1' if number % 2 else 'T2'}.nii.gz",
            patient=f"{number // 4:012x}",
            study=f"{number // 2:012x}",
            modality="MR",
            shape=(32, 256, 256),
            spacing=(4.0, 0.9, 0.9),
            source=f"p{number // 4}/s{number // 2}/{'T1' if number % 2 else 'T2'}.nii.gz",
        )
        for number in range(count)
    ]
    entries = {row.id: {"files": [row.image], "frames": None} for row in found}
    manifest.write(Path("rows.csv"), found, Path.cwd(), entries)


def volume(folder: Path) -> None:
    """A CT as NIfTI."""
    import numpy as np
    import SimpleITK

    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    body = (grid**2).sum(0) < 0.8
    array = np.where(body, 40, -1000) + rng.integers(-40, 40, SHAPE)
    image: Any = SimpleITK.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing(MM[::-1])
    folder.mkdir()
    SimpleITK.WriteImage(image, str(folder / "a.nii.gz"))


def listed_volume(folder: Path) -> None:
    """The manifest of the volume."""
    from medssl.data.scan.scan import scan

    scan([folder], Path("m.csv"), modality="CT")


def resampled(folder: Path) -> None:
    """What is measured against: SimpleITK reads the volume and resamples it linearly."""
    import SimpleITK

    image: Any = SimpleITK.ReadImage(str(folder / "a.nii.gz"), SimpleITK.sitkFloat32)
    size = [round(n * mm / to) for n, mm, to in zip(SHAPE[::-1], MM[::-1], TARGET[::-1], strict=True)]
    where = (image.GetOrigin(), TARGET[::-1], image.GetDirection())
    SimpleITK.Resample(image, size, SimpleITK.Transform(), SimpleITK.sitkLinear, *where)


def prepared(manifest: Path) -> None:
    """Prepare the volume."""
    from medssl.data.prepare import prepare

    shutil.rmtree("cache", ignore_errors=True)
    prepare(manifest, "cache", preset="ct", spacing=TARGET, workers=1)


def timed(name: str, *arguments: Any) -> dict[str, float]:
    """Seconds of the wall clock and of the processor, and the peak of memory, of a function in a process of its own."""
    code = f"import scan; scan.report({name!r}, *{[str(a) if isinstance(a, Path) else a for a in arguments]!r})"
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=place)
    return dict(json.loads(found.stdout.splitlines()[-1]))


def report(name: str, *arguments: Any) -> None:
    """Run a function of this file after its imports, and print what it took."""
    import numpy  # noqa: F401
    import pydicom  # noqa: F401

    import medssl.data.prepare
    import medssl.data.scan.scan  # noqa: F401

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, worked = time.perf_counter(), time.process_time()
    globals()[name](*[Path(a) if isinstance(a, str) else a for a in arguments])
    used = {"wall": time.perf_counter() - begun, "processor": time.process_time() - worked}
    print(json.dumps({**used, "bytes": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)}))


def told(what: str, ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    """Print a ratio: how many times as long ours took, the median of rounds."""
    for clock in ("wall", "processor"):
        ratios = [one[clock] / other[clock] for one, other in zip(ours, theirs, strict=True)]
        print(
            f"{what}, {clock} time: {statistics.median(ratios):.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f}; "
            f"median {statistics.median(one[clock] for one in ours):.2f} s against "
            f"{statistics.median(one[clock] for one in theirs):.2f} s)"
        )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scan", "rows", "prepare"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    os.chdir(given.work)
    print(f"{cores()}, load {os.getloadavg()[0]:.1f}")
    if given.what == "scan":
        folder = Path(f"files{given.files}").absolute()
        if not folder.exists():
            plant(folder, given.files)
        timed("plain", folder)
        found = [
            (timed("plain", folder), timed("scanned", folder, 1), timed("scanned", folder, 2))
            for _ in range(given.rounds)
        ]
        for workers in (1, 2):
            both = [[one[place] for one in found] for place in (workers, 0)]
            told(f"scan of {given.files} files with {workers} worker(s) over a plain loop", *both)
    elif given.what == "rows":
        if not Path("rows.csv").exists():
            timed("rows", given.rows)  # in a process of its own, as a child's peak of memory begins with its parent's
        used = timed("listed", given.rows)
        print(f"{given.rows} rows: {used['wall']:.1f} s ({used['processor']:.1f} s), {used['bytes'] / 1e9:.2f} GB")
    else:
        if not Path("volume").exists():
            timed("volume", Path("volume"))
            timed("listed_volume", Path("volume"))
        both = [(timed("prepared", Path("m.csv")), timed("resampled", Path("volume"))) for _ in range(given.rounds)]
        told("prepare over SimpleITK's reading and resampling", *[[r[i] for r in both] for i in (0, 1)])
        size = 2 * SHAPE[0] * SHAPE[1] * SHAPE[2]
        print(f"memory of prepare: {statistics.median(one['bytes'] for one, _ in both) / size:.1f} times the volume")


if __name__ == "__main__":
    main()
