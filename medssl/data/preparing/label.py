"""Labels on the grid of their prepared image, and what of them is lost on the way."""

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

SAME_PLACE = 0.5  # voxels: how far a label's corners may lie from its image's


def label_to_array(
    label: Volume, geometry: dict[str, Any], options: Mapping[str, Any] = NO_LABEL_OPTIONS
) -> np.ndarray:
    """The label (1,*S), nearest voxel, on the grid that `geometry` gives its image.

    Writes into `geometry` what was lost: `label_cut`, the share of labelled voxels outside the crop, and `label_lost`,
    the connected parts (of one value, corners touching) and the values of which resampling leaves no voxel, each with
    how many there were. Raises `Rejected` when the label does not lie on the image's grid.
    """
    turned, image = orient(_mapped(label, options["map"])), geometry["oriented"]
    if turned.array.shape[1:] != tuple(image["shape"]):
        raise Rejected("label has another shape", f"image {tuple(image['shape'])}, label {turned.array.shape[1:]}")
    away = _corner_distance(turned.affine, np.array(image["affine"]), turned.array.shape[1:])
    if len(image["shape"]) == 3 and away > SAME_PLACE * min(turned.spacing):
        raise Rejected("label lies elsewhere", f"its corner is {away:.1f} mm from the image's")
    window = Window(tuple(geometry["crop"]["start"]), tuple(geometry["crop"]["size"]))
    inside = cut(turned, window)
    whole = int(np.count_nonzero(turned.array))
    geometry["label_cut"] = 1 - int(np.count_nonzero(inside.array)) / whole if whole else 0.0
    small = resample(inside, tuple(geometry["array"]["spacing"]), label=True)
    if small is not inside:
        geometry["label_lost"] = _lost(inside, small, keep=options["keep_small"])
    return small.array


def lost_labels(geometries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences about what the labels of prepared cases have lost."""
    cuts = [share for geometry in geometries if (share := geometry.get("label_cut"))]
    lost = [found for geometry in geometries if (found := geometry.get("label_lost")) and found["parts"]]
    said = []
    if cuts:
        said.append(f"the crop leaves out labelled voxels of {len(cuts)} cases, {max(cuts):.1%} at most")
    if lost:
        parts, of = sum(found["parts"] for found in lost), sum(found["of"] for found in lost)
        values = sorted({value for found in lost for value in found["values"]})
        gone = f", and the values {', '.join(map(str, values))} vanish from some" if values else ""
        said.append(
            f"at this spacing {parts} of {of} connected parts of the labels of {len(lost)} cases vanish{gone}: "
            "take a finer --spacing, or --keep-small, which keeps a voxel of each"
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
    """How many connected parts of a label have no voxel left in `small`, of how many, and which values have none.

    With `keep`, the voxel of `small` that is nearest to a lost part gets its value, if nothing else is there.
    """
    parts, values = _parts(inside.array[0])
    there = np.unique(resample(inside._replace(array=parts[None]), small.spacing, label=True).array)
    lost = sorted(set(range(1, len(values))) - set(there.tolist()))
    if keep:
        lost = [number for number in lost if not _kept(number, parts, inside, small, values[number])]
    gone = {values[number] for number in lost} - set(np.unique(small.array).tolist())
    return {"parts": len(lost), "of": len(values) - 1, "values": sorted(map(int, gone))}


def _parts(label: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The connected parts of one value, numbered from 1, and the value of each number (that of 0 is 0)."""
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
    """Whether a lost part could be kept as the voxel of `small` nearest to one of its own."""
    spots = np.argwhere(parts == number)
    spot = spots[np.linalg.norm(spots - spots.mean(0), axis=1).argmin()]
    place = np.linalg.inv(small.affine) @ inside.affine @ [*spot, 1]
    voxel = tuple(np.clip(np.rint(place[:-1]).astype(int), 0, np.array(small.array.shape[1:]) - 1))
    if small.array[(0, *voxel)] != 0:
        return False
    small.array[(0, *voxel)] = value
    return True


def _corner_distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance (mm) between the corners of one grid and of another of the same shape."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij")).reshape(len(shape) + 1, -1)
    return float(np.linalg.norm(((one - other) @ corners)[:-1], axis=0).max())
