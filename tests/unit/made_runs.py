"""Run directories that nothing was trained for: their networks have drawn weights."""

from __future__ import annotations

import torch

from medssl.build import parts
from medssl.engine import checkpoint
from medssl.recipe import PretrainRecipe, validate
from medssl.recipe.paths import portable

PREPROCESSING = {
    "preset": "ct",
    "spatial_dims": 3,
    "spacing": [1.5, 1.0, 1.0],
    "channels": None,
    "window": [-1000.0, 1000.0],
    "range": None,
    "margin": 5.0,
    "rescale": None,
}


def pretraining(folder, encoder, *, dims=3, channels=1, size=32, seed=0):
    """A run of restoration with this encoder; returns its folder."""
    content = {
        "spatial_dims": dims,
        "channels": channels,
        "data": {"cache": "/private/patients/cache"},
        "views": {"size": [size] * dims, "preset": "ct"},
        "crop": {"kind": "random"},
        "encoder": encoder,
        "decoder": {"kind": "unet", "norm": "group", "skips": "add", "convs": 1},
        "restore": {},
        "optimizers": {"main": {"kind": "adam", "lr": 0.001}},
        "train": {"steps": 2, "batch": 2},
    }
    made = validate(PretrainRecipe, content, "recipe")
    torch.manual_seed(seed)
    net = parts.pretext(parts.validate(made, samples=4))
    state = {"step": 2, "origin": None}
    about = {"samples": 4, "cache": "0" * 64, "patients": ["abc"], "ids": ""}
    saved = {"format": checkpoint.FORMAT, "verb": "pretrain", "weights": dict(net.state_dict()), "optimizers": {}}
    saved |= {"state": state, "recipe": portable(parts.resolved(made)), "data": about}
    saved["preprocessing"] = {**PREPROCESSING, "spatial_dims": dims, "spacing": [1.5, 1.0, 1.0][:dims]}
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint.save(folder / "checkpoints" / "last.pt", saved)
    return folder
