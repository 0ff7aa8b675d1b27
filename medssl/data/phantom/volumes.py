"""3D phantoms: a trunk as CT and a head as MR, from a seed; the lesions overlap in intensity with normal tissue."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medssl.data.phantom.draw import Grid, grid, inside, paint, texture

# Lesions have the HU of bone or fat elsewhere, so that only their place reveals them.
BONE_LIKE, FAT_LIKE = 420.0, -90.0
LESIONS = {"ct": ("dark", "bright"), "mr": ("periventricular", "subcortical")}


def ct_case(
    rng: np.random.Generator, size: tuple[int, ...] = (48, 64, 64), kind: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """A trunk with `dark` or `bright` (`kind`, drawn if empty) lesions in the liver: HU int16 (Z,Y,X), label uint8."""
    at = _, y, x = grid(size)
    kind = kind or LESIONS["ct"][rng.integers(2)]
    wide, deep = rng.uniform(0.82, 0.92), rng.uniform(0.62, 0.72)
    image = np.full(size, -1000, np.float32)
    body = inside((y, x), (0.0, 0.0), (deep, wide)) + 0.03 * texture(rng, size, 0.2)
    paint(image, body, -95 + 12 * texture(rng, size, 0.03))  # skin and fat
    paint(image, body - 0.10 - 0.05 * (y + 1), 50 + 12 * texture(rng, size, 0.03))  # muscle
    _chest(rng, at, image, deep, wide)
    liver = _abdomen(rng, at, image)
    _spine(at, image, body - 0.06, rng.uniform(0, 6.28))
    label = np.zeros(size, np.uint8)
    for shape in _lesions(rng, at, liver, (0.16, 0.28)):
        shape = np.minimum(shape, liver + 0.1)
        paint(image, shape, (BONE_LIKE if kind == "bright" else FAT_LIKE) + 10 * texture(rng, size, 0.04))
        label[shape > 0] = 1
    image = ndimage.gaussian_filter(image, 0.5) + rng.normal(0, 15, size).astype(np.float32)  # point spread, then noise
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16), label


def _chest(rng: np.random.Generator, at: Grid, image: np.ndarray, deep: float, wide: float) -> None:
    z, y, x = at
    wall = np.abs(inside((y, x), (0.0, 0.0), (deep - 0.08, wide - 0.12)))
    ribs = (np.sin(14 * z + 5 * y + rng.uniform(0, 6)) > 0.45) & (z > -0.35) & (wall < 0.045)
    paint(image, np.where(ribs, 1.0, -1.0), 420 + 80 * texture(rng, image.shape, 0.02))
    vessels = np.abs(texture(rng, image.shape, 0.03)) > 2.0
    for side in (-1, 1):
        lung = inside(at, (0.75, -0.02, 0.42 * side), (0.85, deep - 0.2, 0.33))
        paint(image, lung, np.where(vessels, -200, -830 + 40 * texture(rng, image.shape, 0.02)))
    heart = inside(at, (0.45, 0.14, -0.12), (0.42, 0.28, 0.30))
    paint(image, heart, 200 + 10 * texture(rng, image.shape, 0.03))


def _abdomen(rng: np.random.Generator, at: Grid, image: np.ndarray) -> np.ndarray:
    """Liver, spleen, kidneys, stomach and aorta; returns the liver."""
    size = image.shape
    dz, dy, dx = rng.uniform(-0.04, 0.04, 3)
    liver = inside(at, (dz - 0.25, dy + 0.05, dx + 0.38), (0.55, 0.44, 0.42)) + 0.04 * texture(rng, size, 0.1)
    parenchyma = 110 + 8 * texture(rng, size, 0.02) - 14 * texture(rng, size, 0.12)
    vessels = np.abs(texture(rng, size, 0.045)) < 0.04  # thin sheets of enhanced vessel
    stomach = inside(at, (dz - 0.2, dy + 0.2, dx - 0.40), (0.42, 0.28, 0.26))
    paint(image, stomach, 2 + 6 * texture(rng, size, 0.05))
    paint(image, np.minimum(stomach, at[1] - 0.28), -900.0)
    paint(image, liver, parenchyma + np.where(vessels, 45, 0))
    paint(image, inside(at, (-0.1, -0.30, -0.58), (0.3, 0.2, 0.16)), 120 + 8 * texture(rng, size, 0.03))  # spleen
    for side in (-1, 1):
        kidney = inside(at, (-0.62, -0.30, 0.38 * side), (0.26, 0.14, 0.13))
        paint(image, kidney, np.where(kidney > 0.55, 60, 230) + 8 * texture(rng, size, 0.03))
    paint(image, inside((at[1], at[2]), (-0.20, -0.06), (0.09, 0.08)) + 0 * at[0], 240 + 5 * texture(rng, size, 0.03))
    return liver


def _spine(at: Grid, image: np.ndarray, within: np.ndarray, phase: float) -> None:
    z, y, x = at
    vertebra = inside((y, x), (-0.38, 0.0), (0.13, 0.15))
    disc = np.sin(16 * z + phase) > 0.75
    paint(image, vertebra + 0 * z, np.where(disc, 90, np.where(vertebra < 0.2, 600, 260)))
    paint(image, np.minimum(within, inside((y, x), (-0.54, 0.0), (0.11, 0.06)) + 0 * z), 480.0)  # spinous process
    paint(image, inside((y, x), (-0.52, 0.0), (0.055, 0.06)) + 0 * z, 30.0)  # canal


def mr_case(
    rng: np.random.Generator, size: tuple[int, ...] = (48, 64, 64), kind: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """A head, FLAIR-like, with lesions in white matter: int16 (Z,Y,X), lesion label uint8 (Z,Y,X).

    `kind` is `periventricular` or `subcortical`, drawn if empty. A smooth bias field and Rician noise lie over it.
    """
    at = grid(size)
    kind = kind or LESIONS["mr"][rng.integers(2)]
    head = inside(at, (0.05, 0.0, 0.0), (0.92, 0.86, 0.70)) + 0.03 * texture(rng, size, 0.2)
    folds = np.clip(0.08 * texture(rng, size, 0.025), -0.12, 0.12)
    sulci = np.abs(texture(rng, size, 0.03)) < 0.2
    image = np.zeros(size, np.float32)
    paint(image, head, 650 + 60 * texture(rng, size, 0.03))  # scalp
    paint(image, head - 0.07, 60.0)  # skull
    paint(image, head - 0.13, 110.0)  # fluid, dark in FLAIR
    paint(image, head - 0.16 - 0.1 * sulci, 520 + 20 * texture(rng, size, 0.02))  # gray matter
    white = head - 0.30 + folds
    paint(image, white, 400 + 15 * texture(rng, size, 0.05))
    ventricles = np.full(size, -1.0, np.float32)
    for side in (-1, 1):
        one = inside(at, (0.08, 0.02, 0.13 * side), (0.22, 0.42, 0.09)) + 0.05 * texture(rng, size, 0.08)
        ventricles = np.maximum(ventricles, one)
    depth = (
        white - 0.15 if kind == "periventricular" else 0.75 - white
    )  # deep beside the ventricles, or near the cortex
    organ = np.minimum.reduce([white + 0.12, depth + 0.1, -ventricles - 0.2, 0.9 - np.abs(at[0]) + 0 * white])
    label = np.zeros(size, np.uint8)
    for shape in _lesions(rng, at, organ, (0.10, 0.22)):
        where = np.minimum(shape, white + 0.1)
        paint(image, where, 560 + 20 * texture(rng, size, 0.05))
        label[where > 0] = 1
    paint(image, ventricles, 100.0)
    label[ventricles > 0] = 0
    bias = np.exp(0.18 * texture(rng, size, 0.5))
    image = ndimage.gaussian_filter(image, 0.5) * bias
    real, imaginary = rng.normal(0, 18, (2, *size)).astype(np.float32)
    return np.rint(np.hypot(image + real, imaginary)).astype(np.int16), label


def _lesions(rng: np.random.Generator, at: Grid, organ: np.ndarray, radius: tuple[float, float]) -> list[np.ndarray]:
    """One to three rough ellipsoids (positive inside) whose centres are drawn among the organ's inner voxels."""
    places = np.argwhere(organ > min(0.2, 0.5 * float(organ.max())))
    shapes = []
    for place in places[rng.integers(len(places), size=int(rng.integers(1, 4)))]:
        centre = tuple(float(axis.ravel()[i]) for axis, i in zip(at, place, strict=True))
        radii = tuple(float(r) for r in rng.uniform(*radius) * rng.uniform(0.85, 1.15, len(at)))
        shapes.append(inside(at, centre, radii) + 0.06 * texture(rng, organ.shape, 0.06))
    return shapes
