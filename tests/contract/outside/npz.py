"""An export format as a user would add it: one file. The encoder's tensors in one file of NumPy."""

from __future__ import annotations

import numpy as np
import torch

from medssl.engine import checkpoint
from medssl.types import InputError


def export(run, out):
    """Write the encoder of `run` into `out`."""
    weights = checkpoint.load(checkpoint.find(run))["weights"]
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty: name another folder")
    out.mkdir(parents=True, exist_ok=True)
    encoder = {k.removeprefix("encoder."): v.numpy() for k, v in weights.items() if k.startswith("encoder.")}
    np.savez(out / "encoder.npz", **encoder)
    return out


def load(folder):
    """The encoder's tensors, by name."""
    with np.load(folder / "encoder.npz") as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}
