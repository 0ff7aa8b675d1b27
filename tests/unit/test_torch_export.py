"""The encoder as a program: other batches and sizes than it was traced with, and no code of ours."""

from __future__ import annotations

import subprocess
import sys

import made_runs
import pytest
import torch

from medssl import export_weights, load_encoder
from medssl.export import learned

USE = """
import sys, torch
sys.modules["medssl"] = sys.modules["monai"] = None  # their import now fails
encoder = torch.export.load(sys.argv[1]).module()
torch.save([[m.clone() for m in encoder(x)] for x in torch.load(sys.argv[2])], sys.argv[3])
"""


@pytest.mark.parametrize(
    ("encoder", "dims", "sizes"),
    [
        ({"kind": "tiny"}, 3, [(2, 32, 32, 32), (1, 48, 64, 36), (5, 40, 34, 50)]),
        ({"kind": "resnet"}, 2, [(2, 64, 64), (3, 96, 128), (1, 160, 64)]),
        ({"kind": "resenc", "stages": 3}, 3, [(1, 16, 24, 32), (3, 8, 12, 20)]),
    ],
)
def test_another_batch_and_size_give_the_features_of_the_encoder(tmp_path, encoder, dims, sizes):
    run = made_runs.pretraining(tmp_path / "run", encoder, dims=dims, size=64 if dims == 2 else 32)
    out = export_weights(run, tmp_path / "out", to="torch_export")
    images = [torch.rand(batch, 1, *size) for batch, *size in sizes]
    torch.save(images, tmp_path / "x.pt")
    files = [str(path) for path in (out / "encoder.pt2", tmp_path / "x.pt", tmp_path / "y.pt")]
    subprocess.run([sys.executable, "-c", USE, *files], check=True)
    ours = load_encoder(run)
    with torch.no_grad():
        for x, found in zip(images, torch.load(tmp_path / "y.pt"), strict=True):
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours(x), found, strict=True))


def test_an_encoder_with_weights_is_built_once(tmp_path, monkeypatch):
    """What the files say of it is read off a network without weights."""
    run = made_runs.pretraining(tmp_path / "run", {"kind": "tiny"}, dims=2, size=32)
    built, encoder = [], learned.Learned.encoder
    monkeypatch.setattr(learned.Learned, "encoder", lambda found: built.append(found) or encoder(found))
    out = export_weights(run, tmp_path / "out", to="torch_export")
    assert len(built) == 1
    divisor = " x ".join(map(str, load_encoder(run).divisor))
    assert f"multiples of {divisor}. " in (out / "README.md").read_text()
