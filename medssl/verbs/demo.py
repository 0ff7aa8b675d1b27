"""`medssl demo`: simulated scans, then the commands that a user would type, each printed before it runs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from medssl.types import InputError

SIZE = (48, 64, 64)


def demo(out: Path, *, short: bool = False) -> None:
    """Write phantom files below `out`, run all steps on them, and print the path of the report.

    Raises `InputError` if `out` is not empty. If a step fails, the demo ends with its exit code and leaves all files.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: delete it, or choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    _say("Phantom CT volumes with lesions: half as DICOM series, half as NIfTI, labels as NIfTI")
    from medssl.data.phantom.files import write_ct_dataset

    write_ct_dataset(out / "scans", cases=10 if short else 16, size=SIZE, seed=0)
    for line in commands(out, short=short):
        _run(line)
    print(f"\nreport: {(out / 'report.html').resolve()}")


def commands(out: Path, *, short: bool) -> list[list[str]]:
    """The commands, as a user would type them."""
    scans, cache, runs = out / "scans", out / "cache", out / "runs"
    data = f"data.cache={cache}"
    pretrain, finetune = (12, 8) if short else (240, 300)
    segment = ["finetune", "phantom_tiny", data, f"train.steps={finetune}"]
    return [
        [
            "scan",
            f"{scans}/images",
            "--labels",
            f"{scans}/labels",
            "--split",
            "0.6,0.1,0.3",
            "--out",
            f"{out}/manifest.csv",
        ],
        ["prepare", f"{out}/manifest.csv", "--out", f"{cache}", "--preset", "ct"],
        ["preview", "phantom_tiny", data, "--out", f"{out}/views.png"],
        ["pretrain", "phantom_tiny", data, f"train.steps={pretrain}", f"out={runs}/pretrain"],
        [*segment, f"init={runs}/pretrain", f"out={runs}/pretrained"],
        [*segment, "init=scratch", f"out={runs}/scratch"],
        ["report", f"{runs}/pretrain", f"{runs}/pretrained", f"{runs}/scratch", "--out", f"{out}/report.html"],
    ]


def _run(arguments: list[str]) -> None:
    _say(shlex.join(["medssl", *arguments]))
    done = subprocess.run([sys.executable, "-m", "medssl.cli", *arguments], check=False)
    if done.returncode:
        print(f"the demo stopped: `medssl {arguments[0]}` ended with exit code {done.returncode}", file=sys.stderr)
        sys.exit(done.returncode)


def _say(text: str) -> None:
    print(f"\n$ {text}" if text.startswith("medssl") else f"\n# {text}", flush=True)
