"""`views.faithful` in 2D: the encoder sees gray as three equal channels, one is restored, and gray networks take it."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from medssl.build import parts
from medssl.export.safetensors import export
from medssl.pretraining import loop
from medssl.recipe import Options, PretrainRecipe, validate
from medssl.runtime import init_weights

RECIPE = """
spatial_dims: 2
data: {phantom: {cases: 6, size: [20, 20]}}
views: {size: [16, 16], preset: xray, faithful: true}
crop: {kind: contrastive, start: 1, every: 1}
encoder: {kind: tiny, channels: [8, 16]}
decoder: {kind: unet, norm: group}
method: {kind: moco_v2, dim: 8, hidden: 16}
restore: {weight: 10.0}
optimizers: {main: {kind: sgd, lr: 0.01}}
train: {steps: 2, batch: 2}
"""


def recipe(**changes):
    content = yaml.safe_load(RECIPE)
    return validate(PretrainRecipe, {**content, **changes}, "recipe")


@pytest.mark.parametrize(
    ("changes", "channels"),
    [
        ({}, 3),
        ({"views": {"size": [16, 16]}}, 1),
        ({"channels": 2}, 2),
        ({"spatial_dims": 3, "views": {"size": [16, 16, 16], "faithful": True}}, 1),
    ],
)
def test_gray_is_repeated_in_faithful_2d_alone(changes, channels):
    weight = parts.encoder(recipe(**changes)).state_dict()
    stem = next(iter(weight.values()))
    space_to_depth = 2 ** changes.get("spatial_dims", 2)
    assert stem.shape[1] in (channels, channels * space_to_depth)


def test_one_channel_is_seen_as_three_equal_ones_by_queries_and_keys_alike():
    pretext = parts.pretrain_parts(recipe(), samples=6).pretext.eval()
    pretext.begin()
    x = torch.rand(2, 1, 16, 16)
    deep = pretext.encoder(x)[-1]
    torch.testing.assert_close(pretext.encoder(x.repeat(1, 3, 1, 1))[-1], deep)
    torch.testing.assert_close(pretext.method.key_encoder.encoder(x)[-1], deep)
    assert pretext.reconstruct(x).shape == (2, 1, 16, 16)


def test_a_gray_network_takes_the_weights_and_sees_the_same(tmp_path, monkeypatch):
    run = loop.train(recipe(), Options(out=str(tmp_path / "run"), device="cpu"))
    gray = nn.ModuleDict({"encoder": parts.encoder(recipe(views={"size": [16, 16]}))})
    init_weights.start(gray, Options(init=str(tmp_path / "run")), ["encoder"])
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(gray["encoder"](x)[-1], run.pretext.encoder(x)[-1])

    out = export(tmp_path / "run", tmp_path / "weights")
    snippet = (out / "README.md").read_text().split("```python")[1].split("```")[0]
    monkeypatch.chdir(out)
    names: dict = {}
    exec(snippet, names)
    torch.testing.assert_close(names["encoder"](x.repeat(1, 3, 1, 1))[-1], run.pretext.encoder(x)[-1])
