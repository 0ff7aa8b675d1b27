"""Phantoms as a cache, for tests and for recipes with `data.phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medssl.data.cache import Cache, sha256
from medssl.data.phantom.files import affine, write_ct_dataset
from medssl.data.phantom.images import histology, xray
from medssl.data.phantom.volumes import LESIONS, ct_case, mr_case
from medssl.data.preparing.fill import add, claim, finish
from medssl.data.preparing.settings import settings
from medssl.data.read.volume import Volume, make, plane
from medssl.types import Box, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ct_case", "histology", "mr_case", "phantom_cache", "write_ct_dataset", "xray"]

KINDS = {**LESIONS, "xray": ("normal", "opacity")}
MADE_IN = {"ct": (2, 3), "mr": (2, 3), "xray": (2,), "pathology": (2,)}  # dimensions
SLICES = 24  # of the volume from which the slice of a 2D CT or MR phantom is taken


class Phantom(NamedTuple):
    """One simulated case."""

    volume: Volume
    label: Volume | None
    name: str  # class
    boxes: tuple[Box, ...] = ()
    looked: str = ""


def phantom_cache(
    folder: str | Path, cases: int, size: Sequence[int], seed: int, preset: str = "ct", spatial_dims: int | None = None
) -> Cache:
    """A cache of phantoms, one per patient: 70% train, 10% val, 20% test, at least one each.

    `size` *S is the size before the crop to the patient. CT and MR (2D, 3D) come with a lesion label, and the kind of
    lesion as class; xray (2D) with the classes normal and opacity, and boxes; pathology (2D) with a nuclei label. An
    existing cache of the same phantoms is opened. Raises `InputError` for another preset, or fewer than three cases.
    """
    dims = spatial_dims or len(size)
    if cases < 3 or len(size) != dims or dims not in MADE_IN.get(preset, ()):
        raise InputError(
            f"there is no phantom of preset {preset}, size {tuple(size)}, {dims}D, {cases} cases: choose "
            "at least 3 cases of ct or mr (2D, 3D), xray or pathology (2D)"
        )
    out = Path(folder)
    preprocessing = {**settings(preset, [tuple(size)]), "spatial_dims": dims}
    made = f"phantom {cases} {tuple(size)} {seed}"
    secret = made.encode()  # no secret needed: the same phantoms have the same fingerprints in every cache
    head = claim(out, preprocessing, made, secret=secret)
    if head["complete"]:
        return Cache(out)
    for index in range(cases):
        phantom = MAKERS[preset](np.random.default_rng([seed, index]), tuple(size), index)
        facts = _facts(index, cases, seed, phantom)
        add(out, head, facts, phantom.volume, phantom.label, secret)
    return finish(out, head, {}, [])


def _facts(index: int, cases: int, seed: int, phantom: Phantom) -> dict[str, Any]:
    return {
        "id": f"{phantom.volume.modality.lower()}-{sha256(f'phantom image {seed} {index}'.encode())[:12]}",
        "patient": sha256(f"phantom patient {seed} {index}".encode())[:12],
        "split": split(index, cases),
        "classes": (phantom.name,) if phantom.name else (),
        "boxes": phantom.boxes,
        "looked": phantom.looked,
    }


def split(index: int, cases: int) -> str:
    """The split of phantom `index` of `cases`."""
    test, val = max(1, round(0.2 * cases)), max(1, round(0.1 * cases))
    return "train" if index < cases - test - val else "val" if index < cases - test else "test"


def _kind(preset: str, index: int) -> str:
    return KINDS[preset][index % 2]


def _ct(rng: np.random.Generator, size: tuple[int, ...], index: int) -> Phantom:
    image, label = ct_case(rng, size if len(size) == 3 else (SLICES, *size), _kind("ct", index))
    return _volume(image, label, size, "CT", _kind("ct", index))


def _mr(rng: np.random.Generator, size: tuple[int, ...], index: int) -> Phantom:
    image, label = mr_case(rng, size if len(size) == 3 else (SLICES, *size), _kind("mr", index))
    return _volume(image, label, size, "MR", _kind("mr", index))


def _volume(image: np.ndarray, label: np.ndarray, size: tuple[int, ...], modality: str, name: str) -> Phantom:
    """The volume, or in 2D its slice with most lesion, in the usual orientation (front up, right side on the left)."""
    if len(size) == 3:
        place = affine(image.shape, 0.0)
        return Phantom(make(image[None], place, modality), make(label[None], place, modality), name)
    best = int(label.sum((1, 2)).argmax())
    image, label = (np.ascontiguousarray(part[best, ::-1, ::-1])[None] for part in (image, label))
    return Phantom(plane(image, (1.0, 1.0), modality), plane(label, (1.0, 1.0), modality), name)


def _xray(rng: np.random.Generator, size: tuple[int, ...], index: int) -> Phantom:
    image, name, boxes = xray(rng, size, _kind("xray", index))
    found = tuple(Box(name, *box) for box in boxes)
    return Phantom(plane(image[None], (1.0, 1.0), "DX"), None, name, found, "boxes" if found else "none")


def _pathology(rng: np.random.Generator, size: tuple[int, ...], index: int) -> Phantom:
    image, nuclei = histology(rng, size)
    channels = np.ascontiguousarray(image.transpose(2, 0, 1))
    return Phantom(plane(channels, (1.0, 1.0), "SM"), plane(nuclei[None], (1.0, 1.0), "SM"), "")


MAKERS = {"ct": _ct, "mr": _mr, "xray": _xray, "pathology": _pathology}
