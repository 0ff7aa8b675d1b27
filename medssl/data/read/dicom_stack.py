"""Which slices make one volume, and whether they are an even stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medssl.data.reject import Rejected

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from medssl.data.read.dicom_header import Slice

TILT_DEGREES = 0.5  # shear of the stack up to which its axes count as orthogonal
UNEVEN = 0.1  # share of the slice distance by which a gap may differ from the others
ROUNDING = 0.051  # mm: positions are often stored with one decimal
SAME_DIRECTION = 1e-3
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def volumes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Part the slices of one series into lists with one slice a position each; a mosaic is a volume by itself.

    Parted first by what a volume never mixes (size, pixel spacing, frame of reference, direction), then, where several
    slices share a position, by the first mark that tells them apart (echo, image type, diffusion, time).
    """
    mosaics = [[item] for item in slices if item.mosaic]
    plain = _by_direction([item for item in slices if not item.mosaic])
    return mosaics + [part for alike in plain for part in _one_a_position(alike)]


def order(slices: Sequence[Slice]) -> list[Slice]:
    """The slices along their normal (row x column), lowest first."""
    return [slices[place] for place in np.argsort(_heights(slices), kind="stable")]


def affine(slices: Sequence[Slice]) -> np.ndarray:
    """The (4,4) affine, index (z,y,x) -> RAS mm, of ordered slices. Raises `Rejected` if they are no even stack."""
    first = slices[0]
    if first.spacing is None:
        raise Rejected("no pixel spacing", f"{len(slices)} slices", first.path)
    if len(slices) < 2:
        raise Rejected("single slice", "a volume needs at least 2 slices", first.path)
    positions = np.array([item.position for item in slices])
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    _check_shear(step, first)
    _check_gaps(slices)
    _check_line(positions, step, first)
    matrix = np.eye(4)
    columns = [step, np.multiply(first.column, first.spacing[0]), np.multiply(first.row, first.spacing[1])]
    matrix[:3, :3] = LPS_TO_RAS @ np.stack(columns, axis=1)
    matrix[:3, 3] = LPS_TO_RAS @ positions[0]
    return matrix


def _by_direction(slices: Sequence[Slice]) -> list[list[Slice]]:
    groups: list[tuple[Hashable, np.ndarray, list[Slice]]] = []
    for item in slices:
        key, direction = (item.size, item.spacing, item.reference), np.array([*item.row, *item.column])
        for other, towards, members in groups:
            if other == key and np.abs(towards - direction).max() < SAME_DIRECTION:
                members.append(item)
                break
        else:
            groups.append((key, direction, [item]))
    return [members for _, _, members in groups]


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
    """Fewer slices a position than before, and no part that covers only some of the positions."""
    least = min(len(set(_places(part))) for part in parts)
    fewer = max(map(_most_at_one_position, parts)) < _most_at_one_position(slices)
    return fewer and 2 * least > len(set(_places(slices)))


def _by_turn(slices: list[Slice]) -> list[list[Slice]]:
    """Time series without any time in their headers: the n-th slice at each position belongs to volume n."""
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
    return [int(place) for place in np.round(_heights(slices) * 100)]


def _most_at_one_position(slices: Sequence[Slice]) -> int:
    return int(np.unique(_places(slices), return_counts=True)[1].max())


def _heights(slices: Sequence[Slice]) -> np.ndarray:
    return np.array([item.position for item in slices]) @ _normal(slices[0])


def _normal(item: Slice) -> np.ndarray:
    normal = np.cross(item.row, item.column)
    length = float(np.linalg.norm(normal))
    if abs(length - 1) > 0.01:
        raise Rejected("broken geometry", f"row {item.row} and column {item.column} are no right angle", item.path)
    return normal / length


def _check_gaps(slices: Sequence[Slice]) -> None:
    gaps, path = np.diff(_heights(slices)), slices[0].path
    if gaps.min() < 0.005:
        raise Rejected("several slices at one position", f"{len(slices)} slices, gap {gaps.min():.3f} mm", path)
    usual = float(np.median(gaps)) if len(gaps) > 2 else float(gaps.min())
    off = np.abs(gaps - usual) > UNEVEN * usual + ROUNDING
    if not off.any():
        return
    multiples = gaps[off] / usual
    if (np.abs(multiples - np.round(multiples)) < UNEVEN + ROUNDING / usual).all() and multiples.min() > 1.5:
        missing = int(np.round(multiples).sum() - len(multiples))
        raise Rejected("missing slices", f"{missing} of {len(slices) + missing}, {usual:.4g} mm apart", path)
    raise Rejected("uneven slice spacing", f"gaps from {gaps.min():.4g} to {gaps.max():.4g} mm", path)


def _check_shear(step: np.ndarray, first: Slice) -> None:
    length = float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(np.clip(step @ _normal(first) / max(length, 1e-9), -1, 1))))
    if length > ROUNDING and angle > TILT_DEGREES:
        raise Rejected("gantry tilt", f"the stack is sheared by {angle:.1f} degrees", first.path)


def _check_line(positions: np.ndarray, step: np.ndarray, first: Slice) -> None:
    straight = positions[0] + step * np.arange(len(positions))[:, None]
    shift = float(np.linalg.norm(positions - straight, axis=1).max())
    if shift > np.linalg.norm(step) / 2:
        raise Rejected("slices out of line", f"shifted by up to {shift:.3g} mm", first.path)
