"""A small fine-tuning that the tests of finetune, predict, benchmark and export share."""

from __future__ import annotations

import yaml

from medssl.recipe import FinetuneRecipe, Options, validate

SEGMENT = """
seed: 0
spatial_dims: 3
channels: 1
data: {train: train, val: val, test: test}
encoder: {kind: tiny, channels: [4, 8]}
decoder: {kind: unet, norm: group, skips: add, convs: 1, final: shuffle}
task: {kind: segment, classes: [lesion]}
augment: {size: [16, 16, 16], preset: ct, foreground: 0.5}
optimizers: {main: {kind: adamw, lr: 0.01}}
train: {steps: 6, batch: 2, validate_every: 3, checkpoint_every: 2}
"""
CLASSIFY = """
seed: 0
spatial_dims: 2
channels: 1
data: {train: train, val: val, test: test}
encoder: {kind: tiny, channels: [4, 8]}
decoder: null
task: {kind: classify}
augment: {size: [32, 32], preset: xray}
optimizers: {main: {kind: adamw, lr: 0.01}}
train: {steps: 4, batch: 2}
"""


def recipe(text, **changes):
    """The recipe `text`, with groups changed: recipe(SEGMENT, train={"steps": 2})."""
    content = yaml.safe_load(text)
    for group, values in changes.items():
        if isinstance(values, dict) and isinstance(content.get(group), dict):
            content[group] |= values
        else:
            content[group] = values
    return validate(FinetuneRecipe, content, "recipe")


def options(out, **more):
    return Options(out=str(out), device="cpu", **more)
