"""Which slices make one volume, and where they lie: evenly spaced, unevenly, or sheared by a tilted gantry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.data.read.dicom_header import Slice

TILT_DEGREES = 0.5  # up to this shear, the axes of a stack count as orthogonal
UNEVEN = 0.01  # of the slice distance, or
ROUNDING = 0.1  # mm: by this much gaps may differ, as positions are often stored with one decimal
WHOLE = 0.1  # tolerance for a gap that is a whole multiple of the slice distance: slices are missing
SAME_SPACING = 1e-4  # relative: scanners round the same spacing differently
SAME_DIRECTION = 1e-3
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def volumes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Divide the slices of one series into volumes, with one slice per position; a mosaic is a volume by itself.

    First by what is the same throughout a volume (size, pixel spacing, frame of reference, direction), then, if several
    slices share a position, by the first property that separates them (echo, image type, diffusion, time).
    """
    mosaics = [[item] for item in slices if item.mosaic]
    plain = _by_direction([item for item in slices if not item.mosaic])
    return mosaics + [part for alike in plain for part in _one_a_position(alike)]


def order(slices: Sequence[Slice]) -> list[Slice]:
    """The slices along their normal (row x column), lowest first."""
    return [slices[place] for place in np.argsort(heights_of(slices), kind="stable")]


class Stack(NamedTuple):
    """Positions of ordered slices. Distances are in mm, from the first slice."""

    affine: np.ndarray  # (4,4), index (z,y,x) -> RAS mm, of slices as they are or as `dicom_straight` makes them
    heights: np.ndarray  # along the normal, one per slice
    shifts: np.ndarray  # (slices,2) along columns and rows, where they must be undone
    spacing: tuple[float, float]  # of pixels
    even: int  # number of evenly spaced slices to interpolate; 0: they are even already
    notes: tuple[str, ...]


def place(slices: Sequence[Slice]) -> Stack:
    """Positions of ordered slices. Raises `Rejected` for a single slice, missing slices, or several at one position."""
    first = slices[0]
    if first.spacing is None:
        raise Rejected("no pixel spacing", f"{len(slices)} slices", first.path)
    if len(slices) < 2:
        raise Rejected("single slice", "a volume needs at least 2 slices", first.path)
    heights = heights_of(slices)
    heights = heights - heights[0]
    even, uneven = _evenness(heights, first)
    shifts, tilt = _shifts(slices, heights)
    notes = [f"tilt {tilt:.1f}"] if tilt else []
    origin = np.array(first.position)
    if tilt or even:
        step = heights[-1] / ((even or len(slices)) - 1) * _normal(first)
    else:
        step = (np.array(slices[-1].position) - origin) / (len(slices) - 1)
    matrix = np.eye(4)
    columns = [step, np.multiply(first.column, first.spacing[0]), np.multiply(first.row, first.spacing[1])]
    matrix[:3, :3] = LPS_TO_RAS @ np.stack(columns, axis=1)
    matrix[:3, 3] = LPS_TO_RAS @ origin
    return Stack(matrix, heights, shifts if tilt else np.zeros_like(shifts), first.spacing, even, (*notes, *uneven))


def _by_direction(slices: Sequence[Slice]) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for item in slices:
        for members in groups:
            if any(_alike(item, other) for other in (members[0], members[-1])):
                members.append(item)
                break
        else:
            groups.append([item])
    return groups


def _alike(one: Slice, other: Slice) -> bool:
    """Whether two slices may belong to one volume; what one of them does not state does not separate them."""
    directions = zip((*one.row, *one.column), (*other.row, *other.column), strict=True)
    turned = any(abs(a - b) >= SAME_DIRECTION for a, b in directions)
    if one.size != other.size or turned or (one.spacing is None) != (other.spacing is None):
        return False
    spacings = zip(one.spacing or (), other.spacing or (), strict=True)
    if any(abs(a - b) > SAME_SPACING * abs(b) for a, b in spacings):
        return False
    told = zip((one.reference, *one.kinds), (other.reference, *other.kinds), strict=True)
    return all(a == b or not a or not b for a, b in told)


def _one_a_position(slices: list[Slice]) -> list[list[Slice]]:
    if _most_at_one_position(slices) < 2:
        return [slices]
    for number in range(len(slices[0].marks)):
        parts: dict[str, list[Slice]] = {}
        for item in slices:
            parts.setdefault(item.marks[number], []).append(item)
        if len(parts) > 1 and _parts_well(slices, list(parts.values())):
            return [whole for part in parts.values() for whole in _one_a_position(part)]
    return _by_turn(slices)


def _parts_well(slices: list[Slice], parts: list[list[Slice]]) -> bool:
    """Whether there are fewer slices per position than before, and every part covers all positions."""
    least = min(len(set(_places(part))) for part in parts)
    fewer = max(map(_most_at_one_position, parts)) < _most_at_one_position(slices)
    return fewer and 2 * least > len(set(_places(slices)))


def _by_turn(slices: list[Slice]) -> list[list[Slice]]:
    """For time series without times in their headers: the n-th slice at each position belongs to volume n."""
    turns: dict[int, list[Slice]] = {}
    seen: dict[int, int] = {}
    for item, place in sorted(
        zip(slices, _places(slices), strict=True), key=lambda pair: (pair[0].number, pair[0].path)
    ):
        turns.setdefault(seen.get(place, 0), []).append(item)
        seen[place] = seen.get(place, 0) + 1
    whole = len(set(seen.values())) == 1
    return list(turns.values()) if whole else [slices]


def _places(slices: Sequence[Slice]) -> list[int]:
    """The position along the normal in units of 10 micrometres."""
    return [int(place) for place in np.round(heights_of(slices) * 100)]


def _most_at_one_position(slices: Sequence[Slice]) -> int:
    return int(np.unique(_places(slices), return_counts=True)[1].max())


def heights_of(slices: Sequence[Slice]) -> np.ndarray:
    """The positions of slices along the normal of the first, in mm."""
    return np.array([item.position for item in slices]) @ _normal(slices[0])


def _normal(item: Slice) -> np.ndarray:
    normal = np.cross(item.row, item.column)
    length = float(np.linalg.norm(normal))
    if abs(length - 1) > 0.01:
        raise Rejected(
            "broken geometry", f"row {item.row} and column {item.column} are not at a right angle", item.path
        )
    return normal / length


def _evenness(heights: np.ndarray, first: Slice) -> tuple[int, list[str]]:
    """How many slices an even stack in their place would have (0: they are even already), and a note about it.

    As many as the smallest gap requires, but at most twice as many as there are. Raises `Rejected`.
    """
    gaps = np.diff(heights)
    if gaps.min() < 0.005:
        raise Rejected("several slices at one position", f"{len(heights)} slices, gap {gaps.min():.3f} mm", first.path)
    usual = float(np.median(gaps)) if len(gaps) > 2 else float(gaps.min())
    off = np.abs(gaps - usual) > max(UNEVEN * usual, ROUNDING)
    drift = np.abs(heights - np.linspace(0, heights[-1], len(heights))).max()
    if not off.any() and drift <= max(usual / 4, ROUNDING):
        return 0, []
    multiples = gaps[off] / usual
    if off.any() and (np.abs(multiples - np.round(multiples)) < WHOLE).all() and multiples.min() > 1.5:
        missing = int(np.round(multiples).sum() - len(multiples))
        whole = len(heights) + missing
        told = f"{missing} of {whole}, {usual:.4g} mm apart; scan --largest-block keeps the longest even block"
        raise Rejected("missing slices", told, first.path)
    count = min(2 * len(heights), 1 + round(heights[-1] / gaps.min()))
    return count, [f"uneven, gaps of {gaps.min():.3g} to {gaps.max():.3g} mm"]


def _shifts(slices: Sequence[Slice], heights: np.ndarray) -> tuple[np.ndarray, float]:
    """The shift of slices from the normal through the first, along columns and rows, and the tilt in degrees.

    A negligible tilt counts as 0. Raises `Rejected` if slices do not lie on a straight line.
    """
    first = slices[0]
    away = np.array([item.position for item in slices]) - first.position
    shifts = away @ np.stack([first.column, first.row], axis=1)
    slope = shifts[-1] / heights[-1]
    off = float(np.linalg.norm(shifts - np.outer(heights, slope), axis=1).max())
    if off > np.diff(heights).min() / 2 and off > ROUNDING:
        raise Rejected("slices out of line", f"shifted by up to {off:.3g} mm", first.path)
    tilt = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    return shifts, tilt if tilt > TILT_DEGREES and np.linalg.norm(shifts[-1]) > ROUNDING else 0.0
