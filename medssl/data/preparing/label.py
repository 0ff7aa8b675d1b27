"""Labels on the grid of their prepared image, and what is lost by cropping and resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.data.grid import cut
from medssl.data.preparing.settings import NO_LABEL_OPTIONS
from medssl.data.read.volume import Volume, orient, resample
from medssl.data.reject import Rejected
from medssl.types import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAME_PLACE = 0.5  # voxels: largest distance between the corners of a label and its image


def label_to_array(
    label: Volume, geometry: dict[str, Any], options: Mapping[str, Any] = NO_LABEL_OPTIONS
) -> np.ndarray:
    """Resample a label to the grid that `geometry` gives its image (nearest voxel); returns (1,*S).

    Adds to `geometry` what was lost: `label_cut`, the share of labelled voxels outside the crop, and `label_lost`: the
    connected parts (voxels of one value, connected by corners too) and the values of which no voxel is left, with the
    number of parts there were. Raises `Rejected` if the label does not lie on the image's grid.
    """
    turned, image = orient(_mapped(label, options["map"])), geometry["oriented"]
    if turned.array.shape[1:] != tuple(image["shape"]):
        shapes = f"image {tuple(image['shape'])}, label {turned.array.shape[1:]}"
        raise Rejected("label has another shape than its image", shapes)
    away = _corner_distance(turned.affine, np.array(image["affine"]), turned.array.shape[1:])
    if len(image["shape"]) == 3 and away > SAME_PLACE * min(turned.spacing):
        raise Rejected("label lies elsewhere than its image", f"their corners are {away:.1f} mm apart")
    window = Window(tuple(geometry["crop"]["start"]), tuple(geometry["crop"]["size"]))
    inside = cut(turned, window)
    whole = int(np.count_nonzero(turned.array))
    geometry["label_cut"] = 1 - int(np.count_nonzero(inside.array)) / whole if whole else 0.0
    small = resample(inside, tuple(geometry["array"]["spacing"]), label=True)
    if small is not inside:
        geometry["label_lost"] = _lost(inside, small, keep=options["keep_small"])
    return small.array


def lost_labels(geometries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences about what the labels of the prepared cases have lost."""
    cuts = [share for geometry in geometries if (share := geometry.get("label_cut"))]
    lost = [found for geometry in geometries if (found := geometry.get("label_lost")) and found["parts"]]
    said = []
    if cuts:
        said.append(f"the crop to the patient cuts off up to {max(cuts):.1%} of the label in {len(cuts)} cases")
    if lost:
        parts, of = sum(found["parts"] for found in lost), sum(found["of"] for found in lost)
        values = sorted({value for found in lost for value in found["values"]})
        gone = f", and some have no voxel of value {', '.join(map(str, values))} left" if values else ""
        said.append(
            f"at this spacing {parts} of {of} connected label parts in {len(lost)} cases vanish{gone}: "
            "use a finer --spacing, or --keep-small, which keeps one voxel of each"
        )
    return said


def _mapped(label: Volume, mapping: Mapping[str, int]) -> Volume:
    if not mapping:
        return label
    found = label.array.copy()
    kind = np.promote_types(found.dtype, np.min_scalar_type(max(mapping.values())))
    found = found.astype(kind)
    for old, new in mapping.items():
        found[label.array == int(old)] = new
    return label._replace(array=found)


def _lost(inside: Volume, small: Volume, *, keep: bool) -> dict[str, Any]:
    """How many connected parts of a label, out of how many, have no voxel in `small`, and which values have none.

    With `keep`, the voxel of `small` nearest to a lost part gets its value, if that voxel is background.
    """
    parts, values = _parts(inside.array[0])
    there = np.unique(resample(inside._replace(array=parts[None]), small.spacing, label=True).array)
    lost = sorted(set(range(1, len(values))) - set(there.tolist()))
    if keep:
        lost = [number for number in lost if not _kept(number, parts, inside, small, values[number])]
    gone = {values[number] for number in lost} - set(np.unique(small.array).tolist())
    return {"parts": len(lost), "of": len(values) - 1, "values": sorted(map(int, gone))}


def _parts(label: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The connected parts, numbered from 1, and the label value of each number (0 for 0)."""
    from skimage.measure import label as connected

    at = np.nonzero(label)
    parts = np.zeros(label.shape, np.int32)
    if not at[0].size:
        return parts, [0]
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in at)
    parts[box] = connected(label[box].astype(np.int32), background=0)
    numbers, first = np.unique(parts, return_index=True)
    return parts, [int(label.flat[place]) if number else 0 for number, place in zip(numbers, first, strict=True)]


def _kept(number: int, parts: np.ndarray, inside: Volume, small: Volume, value: int) -> bool:
    """Mark the voxel of `small` nearest to the middle of a lost part; False if that voxel is not background."""
    spots = np.argwhere(parts == number)
    spot = spots[np.linalg.norm(spots - spots.mean(0), axis=1).argmin()]
    place = np.linalg.inv(small.affine) @ inside.affine @ [*spot, 1]
    voxel = tuple(np.clip(np.rint(place[:-1]).astype(int), 0, np.array(small.array.shape[1:]) - 1))
    if small.array[(0, *voxel)] != 0:
        return False
    small.array[(0, *voxel)] = value
    return True


def _corner_distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance (mm) between corresponding corners of two grids of the same shape."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij")).reshape(len(shape) + 1, -1)
    return float(np.linalg.norm(((one - other) @ corners)[:-1], axis=0).max())
