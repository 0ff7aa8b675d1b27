"""2D phantoms: a chest radiograph and a stained tissue section, from a seed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medssl.data.phantom.draw import grid, inside, texture

# Optical density of pure haematoxylin and eosin in R, G, B: Ruifrok and Johnston 2001, table 1 (unit vectors).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], np.float32)

Box = tuple[tuple[int, ...], tuple[int, ...]]  # start, stop in pixels, half-open


def xray(
    rng: np.random.Generator, size: tuple[int, ...] = (128, 128), name: str = ""
) -> tuple[np.ndarray, str, list[Box]]:
    """A frontal chest radiograph: uint8 (Y,X), its class `opacity` or `normal`, and the boxes of its opacities."""
    at = y, x = grid(size)
    name = name or ("normal", "opacity")[rng.integers(2)]
    shift, breath = rng.uniform(-0.06, 0.06), rng.uniform(-0.08, 0.08)
    depth = (
        3.0 * np.clip(inside(at, (0.15, shift), (1.25, 0.98)), 0, 1) ** 0.5 + 0 * x
    )  # how much tissue the ray crosses
    depth += 0.15 * texture(rng, size, 0.25)
    lungs = np.full(size, -1.0, np.float32)
    for side in (-1, 1):
        lungs = np.maximum(lungs, inside(at, (-0.08 + breath, shift + 0.43 * side), (0.72, 0.33)))
    lungs = np.minimum(lungs, (0.52 + breath - y) - 0.35 * (np.abs(x - shift) - 0.4) ** 2)  # diaphragm
    air = np.clip(3 * lungs, 0, 1) ** 0.7
    depth -= 1.5 * air * (1 + 0.06 * texture(rng, size, 0.02))
    depth += 0.9 * np.clip(4 * inside(at, (0.28, shift + 0.12), (0.40, 0.34)), 0, 1)  # heart, to the image's right
    depth += 0.8 * np.clip(1.5 * inside((x,), (shift,), (0.14,)), 0, 1) * (1 + 0.12 * np.sin(22 * y))  # spine
    depth += 0.22 * (np.sin(16 * (y + 0.5 * (x - shift) ** 2) + rng.uniform(0, 6)) > 0.5) * (np.abs(x - shift) < 0.85)
    depth += 0.25 * np.abs(texture(rng, size, 0.015)) * (air > 0) * np.exp(-4 * (np.abs(x - shift) - 0.2) ** 2)
    boxes = []
    if name == "opacity":
        for _ in range(int(rng.integers(1, 3))):
            cloud, box = _opacity(rng, lungs, at)
            depth += 1.1 * cloud * (1 + 0.15 * texture(rng, size, 0.03))
            boxes.append(box)
    film = ndimage.gaussian_filter(depth, 0.6) + rng.normal(0, 0.05, size)
    low, high = np.percentile(film, [1, 99])
    return np.rint(255 * np.clip((film - low) / (high - low), 0, 1)).astype(np.uint8), name, boxes


def _opacity(rng: np.random.Generator, lungs: np.ndarray, at: tuple[np.ndarray, ...]) -> tuple[np.ndarray, Box]:
    """A soft cloud in the lungs (0 to 1), and the box of its visible part."""
    places = np.argwhere(lungs > 0.3)
    place = places[rng.integers(len(places))]
    centre = tuple(float(axis.ravel()[i]) for axis, i in zip(at, place, strict=True))
    cloud = inside(at, centre, tuple(rng.uniform(0.14, 0.28, 2))) + 0.15 * texture(rng, lungs.shape, 0.06)
    cloud = np.clip(2 * cloud, 0, 1) * (lungs > 0)
    seen = np.argwhere(cloud > 0.2)
    return cloud, (tuple(map(int, seen.min(0))), tuple(map(int, seen.max(0) + 1)))


def histology(rng: np.random.Generator, size: tuple[int, ...] = (128, 128)) -> tuple[np.ndarray, np.ndarray]:
    """A stained section: RGB uint8 (Y,X,3) and its nuclei, 1 inside, uint8 (Y,X).

    Stains mix by the Beer-Lambert law, intensity = 255 exp(-sum of amount x optical density); the stain vectors and
    amounts differ slightly between sections, as between laboratories.
    """
    at = grid(size)
    fibres = texture(rng, size, 0.03) + 0.8 * np.sin(9 * at[0] + 4 * at[1] + 1.5 * texture(rng, size, 0.2))
    eosin = np.clip(0.55 + 0.16 * fibres, 0.05, None)
    eosin = np.where(texture(rng, size, 0.12) > 1.3, 0.03, eosin)  # lumen and tears
    haematoxylin = np.clip(0.10 + 0.06 * texture(rng, size, 0.05), 0, None)  # basophilic cytoplasm
    haematoxylin = haematoxylin + 0.45 * (texture(rng, size, 0.01) > 2.3)  # pigment and dirt, as dark as nuclei
    nuclei = _nuclei(rng, at)
    amount = rng.uniform(0.75, 1.25) * (1 + 0.25 * texture(rng, size, 0.02))  # chromatin
    haematoxylin = np.where(
        nuclei > 0, np.clip(amount * (0.55 + 0.5 * np.exp(-nuclei / 0.15)), 0.3, None), haematoxylin
    )
    vectors = STAINS + rng.normal(0, 0.03, STAINS.shape).astype(np.float32)
    density = haematoxylin[..., None] * vectors[0] + rng.uniform(0.8, 1.2) * eosin[..., None] * vectors[1]
    density = ndimage.gaussian_filter(density, (0.6, 0.6, 0))
    image = 255 * np.exp(-density) + rng.normal(0, 2, density.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), (nuclei > 0).astype(np.uint8)


def _nuclei(rng: np.random.Generator, at: tuple[np.ndarray, ...]) -> np.ndarray:
    """Rotated ellipses of 6 to 14 pixels across, as dense as in tissue; positive inside."""
    shape = (at[0].size, at[1].size)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    found = np.full(shape, -1.0, np.float32)
    for _ in range(max(3, shape[0] * shape[1] // 450)):
        a, b = rng.uniform(3, 7), rng.uniform(2.5, 5)
        turn, (cy, cx) = rng.uniform(0, np.pi), rng.uniform(0, shape)
        u = (rows - cy) * np.cos(turn) + (columns - cx) * np.sin(turn)
        v = (columns - cx) * np.cos(turn) - (rows - cy) * np.sin(turn)
        found = np.maximum(found, 1 - np.sqrt((u / a) ** 2 + (v / b) ** 2))
    return found
