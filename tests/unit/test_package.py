"""What an installed medssl carries."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_shipped_recipe_is_in_the_installed_package():
    """An install puts recipes under share/medssl/recipes, where medssl.recipe.folder() looks for them."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    carried = {
        f"{place.removeprefix('share/medssl/')}/{path.name}"
        for place, patterns in listed.items()
        for pattern in patterns
        for path in ROOT.glob(pattern)
    }
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.yaml")}
    assert carried == there
    assert len(there) >= 6


def test_the_pins_fit_the_ranges():
    pins = (ROOT / "constraints.txt").read_text()
    assert "\ntorch==2.13.0\n" in pins
    assert "torchvision" not in pins, "beside a CPU torch it breaks imports"
