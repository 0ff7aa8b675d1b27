"""`medssl embed`: features of images from the encoder of a run, with the preprocessing of that run.

Scans are oriented, cropped, resampled and scaled as the checkpoint says. Whole images are resized to the size of the
largest view of a pretraining, or the image size of a fine-tuning; a segmentation network sees them at their own scale.

    >>> found = embed("runs/pretrain", "scans", "features.npz", pool="all_levels")  # doctest: +SKIP
    >>> len(found.ids) == len(found.features)  # doctest: +SKIP
    True
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from medssl.messages import progress
from medssl.probing import features, frozen, inputs
from medssl.probing.embedding import Embedding, File, check_ending
from medssl.recipe import Options, validate
from medssl.runtime import launch
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor, nn

    from medssl.probing.features import Pool
    from medssl.probing.frozen import Frozen
    from medssl.probing.inputs import Item

    Place = str | os.PathLike[str]


def embed(
    run: Place,
    given: Place | Sequence[Place],
    out: Place | None = None,
    *,
    level: int = -1,
    pool: Pool = "mean",
    dense: bool = False,
    untrained: bool = False,
    seed: int = 0,
    size: Sequence[int] | None = None,
    batch: int = features.BATCH,
    device: str = "auto",
) -> Embedding:
    """Compute the features of images with the encoder of a run; inputs that cannot be used are listed with the reason.

    Args:
        run: a pretraining or fine-tuning: run directory, .pt file, or folder written by `medssl export`.
        given: one or more images, folders of images or DICOM, manifests of `scan`, or caches of `prepare`.
        out: where to write the features (.npz or .csv); None: not at all.
        level: the level of the encoder, 0 the finest, -1 the deepest.
        pool: `mean` of the level over the image, `mean_std` (with the deviation), or `all_levels` (both, of every
            level).
        dense: return the feature maps of the level instead.
        untrained: use the network with which a run of `seed` starts, as a baseline.
        seed: seed of the untrained network.
        size: resize images to this size; default: as in the run.
        batch: number of images computed together; the result does not depend on it.
        device: auto, cpu or cuda.

    Raises:
        InputError: there is no such run, level or file type, a cache was prepared differently, or no image can be used.
    """
    if out is not None:
        check_ending(Path(out), dense=dense)
    network = frozen.load(run, untrained=untrained, seed=seed, size=size)
    made = _embedded(network, given, "dense" if dense else pool, level, batch, device)
    if out is not None:
        made.save(out)
    return made


def _embedded(
    network: Frozen, given: Place | Sequence[Place], pool: Pool | Literal["dense"], level: int, batch: int, device: str
) -> Embedding:
    features.check_level(level, len(network.encoder.channels))
    where = launch.fabric(validate(Options, {"device": device}, "embed"), "32").device
    network.encoder.to(where)
    given = [given] if isinstance(given, (str, os.PathLike)) else given
    items, left_out = inputs.find(given, network.preprocessing, network.channels)
    files = [File("", source, reason) for source, reason in left_out.items()]
    batches = features.batched(_images(network, items, files), batch)
    found: np.ndarray | list[np.ndarray]
    names: list[str] = []
    if pool == "dense":
        found = _dense(network.encoder, batches, level, where)
    else:
        found, names = _pooled(network.encoder, batches, pool, level, where)
    ids = [file.id for file in files if file.id]
    if not ids:
        reasons = "; ".join(f"{file.source}: {file.reason}" for file in files[:3])
        raise InputError(f"none of the inputs could be embedded ({reasons or 'the folders are empty'})")
    shape = list(network.size) if network.size is not None else "native"
    return Embedding(ids, found, names, files, {**network.about, "level": level, "pool": pool, "size": shape})


def _images(network: Frozen, items: Sequence[Item], files: list[File]) -> Iterator[Tensor]:
    """The network input of each item that can be read; `files` gets an entry for each of `items`."""
    seen: dict[str, int] = {}
    with progress() as show:
        for number, item in enumerate(items, 1):
            found = inputs.attempt(item)
            show("embed", number, len(items))
            if isinstance(found, str):
                files.append(File("", item.source, found))
                continue
            array, intensity, spacing, modality = found
            name = item.id or inputs.name_of(array, modality)
            seen[name] = seen.get(name, 0) + 1
            files.append(File(name if seen[name] == 1 else f"{name}_{seen[name]}", item.source))
            yield network.see(array, intensity, spacing)


def _pooled(
    encoder: nn.Module, batches: Iterable[Tensor], pool: Pool, level: int, device: Any
) -> tuple[np.ndarray, list[str]]:
    found = features.extract({"": encoder}, batches, device)[""]
    if not found.mean:
        return np.zeros((0, 0), np.float32), []
    widths = [part.shape[1] for part in found.mean]
    chosen = range(len(widths)) if pool == "all_levels" else [level % len(widths)]
    parts = ["mean"] if pool == "mean" else ["mean", "std"]
    names = [f"level{i}_{part}_{c}" for i in chosen for part in parts for c in range(widths[i])]
    return found.select(pool, level), names


@torch.no_grad()
def _dense(encoder: nn.Module, batches: Iterable[Tensor], level: int, device: Any) -> np.ndarray | list[np.ndarray]:
    maps = [m for x_BC in batches for m in encoder(x_BC.to(device))[level].float().cpu().numpy()]
    alike = len({m.shape for m in maps}) == 1
    return np.stack(maps) if alike else maps
