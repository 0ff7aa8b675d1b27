"""The commands, called in this process, and one small chain of them that all tests of this folder look at."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from medssl import cli
from medssl.data.phantom.files import write_ct_dataset

torch.set_num_threads(1)

SIDE = "[16,16,16]"
PRETRAIN = [
    "phantom_tiny", "train.steps=6", "train.batch=2", f"views.size={SIDE}", "crop.start=2", "crop.every=2",
    "restore.start=2", "adversary.start=4", "device=cpu",
]  # fmt: skip
FINETUNE = ["phantom_tiny", "train.steps=6", "train.batch=2", f"augment.size={SIDE}", "device=cpu"]


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def medssl(*words: object) -> Said:
    """Run `medssl WORDS` here and now: a process of its own would import torch each time."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["medssl", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    return Said(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session", name="medssl")
def _medssl():
    return medssl


class Chain(NamedTuple):
    """Where the chain lies, and what each verb said."""

    root: Path
    said: dict[str, Said]

    @property
    def scans(self) -> Path:
        return self.root / "scans"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def pretrained(self) -> Path:
        return self.root / "runs" / "pretrained"

    @property
    def segmented(self) -> Path:
        return self.root / "runs" / "segmented"

    @property
    def data(self) -> list[str]:
        return [f"data.cache={self.cache}", "data.phantom=null"]


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Chain:
    """scan -> prepare -> preview -> pretrain -> finetune -> predict -> report -> export, on phantom files."""
    chain = Chain(tmp_path_factory.mktemp("chain"), {})
    write_ct_dataset(chain.scans, cases=6, size=(24, 32, 32), seed=0)
    images, root = chain.scans / "images", chain.root
    commands = [
        ["scan", images, "--labels", chain.scans / "labels", "--split", "0.5,0.2,0.3", "--out", root / "manifest.csv"],
        ["prepare", root / "manifest.csv", "--out", chain.cache, "--preset", "ct"],
        ["preview", *PRETRAIN, *chain.data, "--out", root / "views.png"],
        ["pretrain", *PRETRAIN, *chain.data, f"out={chain.pretrained}"],
        ["finetune", *FINETUNE, *chain.data, f"init={chain.pretrained}", f"out={chain.segmented}"],
        ["predict", chain.segmented, images / "case_000.nii.gz", images / "case_003", "--out", root / "masks"],
        ["report", chain.pretrained, chain.segmented, "--out", root / "report.html"],
        ["export", chain.pretrained, "--to", "safetensors", "--out", root / "exported"],
    ]
    for words in commands:
        chain.said[words[0]] = medssl(*words)
    return chain
