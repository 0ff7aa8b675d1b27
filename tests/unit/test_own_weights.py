"""The weights that come with medssl: each loads by its name, is small, and names its data and licence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import medssl

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.parent.name for path in (ROOT / "weights").glob("*/model.safetensors"))


def test_there_are_some():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_weights_load_by_name_and_give_features(name):
    encoder = medssl.load_encoder(f"medssl:{name}")
    assert not encoder.training
    size = [2 * max(encoder.divisor)] * encoder.spatial_dims
    x = torch.rand(2, encoder.in_channels, *[max(64, n) for n in size])
    found = encoder(x)[-1]
    assert found.isfinite().all()
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_have_a_card_with_data_and_licence(name):
    folder = ROOT / "weights" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    text = (folder / "README.md").read_text()
    licence = yaml.safe_load(text.split("---\n")[1])["license"]
    assert licence not in ("unknown", None)
    assert "was not said at export" not in text
    assert "brats" not in text.lower()
    assert (
        f"weights/{name}: {licence.upper().replace('-', ' ').replace('CC BY SA', 'CC BY-SA')}"
        in (ROOT / "NOTICE").read_text()
    )
