"""Waiting times of a user: `medssl --help`, a dozen phantoms, the short demo. Run it on an idle machine.

    python benchmarks/answers.py

Prints each time with its limit, and exits with code 1 if a limit is exceeded. Times are processor times of the process
and its children, so that waiting for the disk does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = {"medssl --help": 0.4, "12 phantoms of 48^3": 3.0, "medssl demo --short": 100.0}  # seconds


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            "medssl --help": min(_wall(lambda: _medssl("--help")) for _ in range(5)),
            "12 phantoms of 48^3": _processor(lambda: _phantoms(Path(folder) / "phantoms")),
            "medssl demo --short": _processor(lambda: _medssl("demo", "--short", "--out", f"{folder}/demo")),
        }
    for name, seconds in measured.items():
        print(f"{name:24} {seconds:8.2f} s, at most {LIMITS[name]:g} s")
    return int(any(seconds > LIMITS[name] for name, seconds in measured.items()))


def _medssl(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "medssl.cli", *words], check=True, stdout=subprocess.DEVNULL)


def _phantoms(folder: Path) -> None:
    from medssl.data.phantom.cases import phantom_cache

    phantom_cache(folder, 12, (48, 48, 48), 0)


def _wall(run: Callable[[], None]) -> float:
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def _processor(run: Callable[[], None]) -> float:
    before = sum(os.times()[:4])
    run()
    return sum(os.times()[:4]) - before


if __name__ == "__main__":
    sys.exit(main())
