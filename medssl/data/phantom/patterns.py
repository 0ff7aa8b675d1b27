"""Phantom chest films whose lungs show one of four patterns: the task of `medssl demo`.

A pattern is drawn all over the lungs, as interstitial disease is. Mean and spread of the lungs' brightness are the same
for all patterns and differ between films, like shape and place of the lungs, contrast and noise, so that neither a
histogram nor a thumbnail tells them; their texture does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from medssl.data.files import write_csv
from medssl.data.phantom.draw import grid, inside, texture

if TYPE_CHECKING:
    from pathlib import Path

PATTERNS = ("fine", "coarse", "net", "spots")


def pattern_film(rng: np.random.Generator, pattern: str, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """A film, uint8 (Y,X), with one of PATTERNS in its lungs."""
    rows, columns = grid(size)
    turn, zoom = rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.2)
    at = y, x = (
        zoom * (np.cos(turn) * rows - np.sin(turn) * columns),
        zoom * (np.sin(turn) * rows + np.cos(turn) * columns),
    )
    shift, breath = rng.uniform(-0.2, 0.2, 2)
    body = (0.1, shift), rng.uniform((1.1, 0.9), (1.5, 1.1))
    depth = 3.0 * np.clip(inside(at, body[0], tuple(body[1])), 0, 1) ** 0.5
    depth = depth + rng.uniform(0.1, 0.5) * texture(rng, size, 0.3)
    lungs = np.full(size, -1.0, np.float32)
    for side in (-1, 1):
        centre, radius = (-0.05 + breath, shift + 0.45 * side), rng.uniform((0.55, 0.28), (0.9, 0.45))
        lungs = np.maximum(lungs, inside(at, centre, tuple(radius)))
    air = np.clip(3 * lungs, 0, 1) ** 0.7
    depth = depth - 1.5 * air * (1 - rng.uniform(0.15, 0.3) * _grain(rng, pattern, size))
    heart = inside(at, (0.3, shift + 0.12), tuple(rng.uniform((0.28, 0.22), (0.42, 0.4))))
    depth = depth + 0.9 * np.clip(4 * heart, 0, 1)
    depth = depth + rng.uniform(0.4, 0.9) * np.clip(1.5 * inside((x,), (shift,), (0.14,)), 0, 1)  # spine
    ribs = np.sin(16 * (y + 0.5 * (x - shift) ** 2) + rng.uniform(0, 6)) > 0.5
    film = ndimage.gaussian_filter(depth + rng.uniform(0, 0.25) * ribs, 0.4) + rng.normal(0, 0.05, size)
    low, high = np.percentile(film, [1, 99])
    unit = np.clip((film - low) / (high - low), 0, 1) ** rng.uniform(0.7, 1.4)
    return np.rint(255 * unit).astype(np.uint8)


def _grain(rng: np.random.Generator, pattern: str, size: tuple[int, int]) -> np.ndarray:
    """The texture of a pattern, mean 0 and standard deviation 1."""
    if pattern == "net":
        found = -np.abs(texture(rng, size, 0.05))
    elif pattern == "spots":
        found = np.clip(texture(rng, size, 0.03) - 0.8, 0, 1.2)
    else:
        found = texture(rng, size, 0.02 if pattern == "fine" else 0.07)
    return (found - found.mean()) / (found.std() + 1e-6)


def write_films(folder: Path, cases: int, seed: int = 0) -> None:
    """Write `cases` films as PNG into `folder`/images, and table.csv with the pattern and patient of each."""
    rng = np.random.default_rng([seed, 7])
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(cases):
        name, pattern = f"film_{number:04d}", PATTERNS[number % len(PATTERNS)]
        Image.fromarray(pattern_film(rng, pattern)).save(folder / "images" / f"{name}.png")
        rows.append((name, pattern, f"patient_{number:04d}"))
    write_csv(folder / "table.csv", ("id", "class", "patient"), rows)
