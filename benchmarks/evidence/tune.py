"""Pretrain the arms of tuning.yaml and probe their frozen encoders, to choose defaults; no test image is opened.

run: python benchmarks/evidence/tune.py DATA OUT [ARM...]
DATA holds brainmr, cxr64 and cxr. OUT gets two caches (64 pixels), a run for each arm and pool, and tuning.jsonl with a
row for each. All arms are run, or those named. What has a row is not run again, and a run that was stopped goes on. One
core; docs/learning.md has the table of benchmarks/evidence/tuning.jsonl.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pretraining
import tuning_probe
import yaml

POOLS = {"brain": "brainmr", "cxr": "cxr64"}  # here: as plan.yaml calls it


def main(data: Path, out: Path, only: list[str]) -> None:
    """Run every arm, or those of these names, on the pools that it names."""
    out.mkdir(parents=True, exist_ok=True)
    caches(data, out)
    rows = out / "tuning.jsonl"
    done = {tuple(json.loads(line)[key] for key in ("arm", "pool")) for line in lines(rows)}
    arms = yaml.safe_load(Path(__file__).with_name("tuning.yaml").read_text())
    for name in only or arms:
        arm = arms[name]
        for pool in arm.get("pools", POOLS):
            if (name, pool) not in done:
                row = {"arm": name, "pool": pool, **arm, **score(pretrain(name, arm, pool, data, out), pool, data, out)}
                with rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def lines(path: Path) -> list[str]:
    """Those of a file, none where there is none."""
    return path.read_text().splitlines() if path.exists() else []


def caches(data: Path, out: Path) -> None:
    """The two pools, and the X-rays of the probes."""
    for name, images, spacing in (
        ("brain", data / "brainmr" / "open" / "images", ["--spacing", "3.5,3.5"]),
        ("cxr", data / "cxr64" / "open" / "images", []),
        ("xrays", data / "cxr" / "open" / "images", []),
    ):
        if not (out / name / "cache.json").exists():
            medssl("scan", str(images), "--out", str(out / f"{name}.csv"))
            medssl("prepare", str(out / f"{name}.csv"), "--out", str(out / name), "--preset", "xray", *spacing)


def pretrain(name: str, arm: dict[str, Any], pool: str, data: Path, out: Path) -> Path:
    """The run directory of an arm: its own, or that of an arm of plan.yaml with the first seed, under OUT/plan."""
    if "plan" in arm:
        return pretraining.pretrain(arm["plan"], POOLS[pool], 0, data, out / "plan")
    run = out / "runs" / f"{pool}.{name}"
    named = [f"data.splits={data / 'brainmr' / 'splits.json'}", f"data.key={out / pool}.key"]
    of = [*named, "data.train=pretrain"] if pool == "brain" else []
    start = (
        [f"init={out / 'runs' / (pool + '.' + arm['init'])}", "init_parts=[encoder,method]"] if "init" in arm else []
    )
    changes = [*arm.get("changes", []), *start, f"data.cache={out / pool}", *of]
    medssl("pretrain", arm["recipe"], *changes, f"train.steps={arm['steps']}", f"out={run}", "resume=true")
    return run


def score(run: Path, pool: str, data: Path, out: Path) -> dict[str, Any]:
    """The probes of a pool: tumour types on brain MR, pneumonia and lungs on X-rays."""
    encoder = tuning_probe.encoder(run)
    if pool == "brain":
        return tuning_probe.tumours(encoder, data / "brainmr", out / "brain")
    return tuning_probe.pneumonia(encoder, data / "cxr", out / "xrays") | tuning_probe.lungs(
        encoder, data / "cxr", out / "xrays"
    )


def medssl(*words: str) -> None:
    """The command line, one thread."""
    subprocess.run([sys.executable, "-m", "medssl.cli", *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
