"""Tutorial 2: what did the encoder learn? A probe of frozen features beside its baselines, on made-up radiographs."""

from pathlib import Path

import medssl
from medssl.data.phantom.cases import phantom_cache

# Phantom radiographs of two classes, with and without an opacity. The cache of your own images comes from `prepare`.
phantom_cache(Path("cache"), 60, (64, 64), 0, "xray")

# A short pretraining; 1,600 steps of 64 views are what the recipe asks for.
settings = {"data.cache": "cache", "views.size": [32, 32], "train.batch": 16, "train.steps": 20}
run = medssl.pretrain("moco_v2_tiny_2d", settings, out="runs/pretrain")
last = run.metrics[-1]
print("loss", round(last["loss.discrimination"], 2), "a guess", round(last["metric.chance"], 2))

# A logistic regression on frozen features, from 2 images per class and from all, beside an untrained network.
task = {"kind": "probe", "of": "classes", "untrained": 1, "shots": [2], "draws": 3}
probe = medssl.finetune(
    "probe_2d", {"data.cache": "cache", "augment.size": [32, 32], "task": task}, init=run, out="runs/probe"
)
for row in probe.results["beside"]:
    print(row["network"], row["features"], row["probe"], round(row["value"], 3))

# The features themselves, for a model of your own.
features = medssl.embed(run, "cache")
print(features.features.shape)
print(probe.report)
