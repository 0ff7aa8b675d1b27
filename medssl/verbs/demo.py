"""`medssl demo`: phantom films, then the very commands a user would type, each echoed before it runs.

It measures, on images that nobody has chosen, whether pretraining helped, and says what it found in one sentence: see
docs/demo.md for the task, what it shows, and what it does not.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from medssl.data.phantom.patterns import PATTERNS, write_films
from medssl.types import InputError

SHOTS = 5  # labelled films of each pattern, of the probe in the closing sentence


class Size(NamedTuple):
    """How large a demo is."""

    films: int
    pretrain: int  # steps
    finetune: int
    draws: int
    seeds: int
    batch: int


FULL = Size(films=480, pretrain=300, finetune=80, draws=10, seeds=4, batch=64)
SHORT = Size(films=48, pretrain=4, finetune=2, draws=2, seeds=2, batch=8)


def demo(out: Path, *, short: bool = False, seed: int = 0) -> None:
    """Make phantom films under `out`, run the chain on them, say what was found and where the report lies.

    Raises `InputError` if `out` is taken. If a step fails the demo ends with its exit code, and what was written stays.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: remove it, or give another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    size = SHORT if short else FULL
    _say(f"{size.films} phantom chest films; which of four patterns do the lungs show? Pretraining sees no label")
    write_films(out / "films", size.films, seed)
    (out / "few_shot.yaml").write_text(few_shot(out, size, seed))
    for line in commands(out, size, seed):
        _run(line)
    print(f"\n{sentence(out)}\nreport: {(out / 'report.html').resolve()}")


def commands(out: Path, size: Size, seed: int) -> list[list[str]]:
    """The chain, as a user would type it."""
    films, cache, runs = out / "films", out / "cache", out / "runs"
    data, pretrained = f"data.cache={cache}", f"init={runs}/pretrain"
    draws = [f"seed={seed}", f"task.shots=[1,{SHOTS}]", f"task.draws={size.draws}"]
    split = ["--modality", "DX", "--split", "0.6,0.15,0.25", "--seed", f"{seed}"]
    short = [f"seed={seed}", f"train.steps={size.pretrain}", f"train.batch={size.batch}"]
    return [
        ["scan", f"{films}/images", "--table", f"{films}/table.csv", *split, "--out", f"{out}/manifest.csv"],
        ["prepare", f"{out}/manifest.csv", "--out", f"{cache}", "--preset", "xray"],
        ["preview", "moco_v2_tiny_2d", data, "--out", f"{out}/views.png"],
        ["pretrain", "moco_v2_tiny_2d", data, *short, "pictures=true", f"out={runs}/pretrain"],
        ["finetune", "probe_2d", data, *draws, pretrained, f"out={runs}/probe"],
        ["benchmark", f"{out}/few_shot.yaml", f"out={runs}/few_shot"],
        [
            *("report", f"{runs}/pretrain", f"{runs}/probe", f"{runs}/few_shot"),
            "--out",
            f"{out}/report.html",
            "--pictures",
        ],
    ]


def few_shot(out: Path, size: Size, seed: int) -> str:
    """The benchmark: fine-tuning with few labels, from the pretraining and from scratch, over several seeds."""
    train = {"steps": size.finetune, "batch": 16, "validate_every": "50%"}
    named = {"kind": "classify", "classes": sorted(PATTERNS)}  # a draw of few labels may lack one
    task = {"recipe": "classify_tiny_2d", "data": {"cache": str(out / "cache")}, "task": named, "train": train}
    content = {
        "inits": {"scratch": "scratch", "pretrained": str(out / "runs" / "pretrain")},
        "tasks": {"pattern": task},
        "fractions": [0.1],
        "seeds": list(range(seed, seed + size.seeds)),
        "primary": {"fraction": 0.1},
    }
    return json.dumps(content, indent=1)  # JSON is YAML


def probed(out: Path) -> dict[str, dict[str, Any]]:
    """Entries of results.json at SHOTS films per pattern, by network: the first kind of features and probe of each."""
    probe = json.loads((out / "runs" / "probe" / "results.json").read_text())
    rows = [row for row in probe["few_shot"] if row["shots"] == SHOTS]
    return {row["network"]: {**row, "score": probe["score"]} for row in reversed(rows)}


def sentence(out: Path) -> str:
    """What was found, in one sentence made from results.json of the probe and summary.json of the benchmark."""
    entries = json.loads((out / "runs" / "few_shot" / "summary.json").read_text())
    found = dict(reversed(probed(out).items()))
    score = next(iter(found.values()))["score"]
    values = "; ".join(f"{name} {row['value']:.3f} ± {row['sd']:.3f}" for name, row in found.items())
    entry = next(one for one in entries if one.get("difference") is not None)
    shown = f"With {SHOTS} labelled films per pattern a probe of frozen features has a {score} of: {values}"
    return f"{shown}; {_tuned(entry)}"


def _tuned(entry: dict[str, Any]) -> str:
    """How fine-tuning from the pretraining compares with scratch."""
    low, high = entry["low"], entry["high"]
    words = "is better than scratch" if low is not None and low > 0 else "is not shown to be better than scratch"
    if high is not None and high < 0:
        words = "is worse than scratch"
    limits = "" if low is None else f", 95% interval {low:+.3f} to {high:+.3f} over seeds and test films"
    return (
        f"fine-tuned on {entry['cases']:.0f} films, the pretrained network {words} "
        f"({entry['score']} {entry['difference']:+.3f}{limits})."
    )


def _run(arguments: list[str]) -> None:
    _say(shlex.join(["medssl", *arguments]))
    done = subprocess.run([sys.executable, "-m", "medssl.cli", *arguments], check=False)
    if done.returncode:
        print(f"the demo stopped: `medssl {arguments[0]}` ended with exit code {done.returncode}", file=sys.stderr)
        sys.exit(done.returncode)


def _say(text: str) -> None:
    print(f"\n$ {text}" if text.startswith("medssl") else f"\n# {text}", flush=True)
