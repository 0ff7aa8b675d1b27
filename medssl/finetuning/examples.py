"""figures/lesions.png of a run: lesions that were found, lesions that were missed, and false alarms, from its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medssl.data import files
from medssl.finetuning.slices import box_on_slice, gray_slice
from medssl.localization.scores import reporting
from medssl.metrics.lesions import Findings
from medssl.metrics.matching import Rule, agreements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medssl.data.cache import Cache
    from medssl.metrics.lesions import Region

SHOWN, COLUMNS = 6, 3  # tiles of a kind, and side by side: more are too small on a telephone
SIDE, GAP, TITLE = 240, 8, 36  # pixels
REFERENCE, FOUND = (60, 200, 120), (255, 200, 0)  # colours of boxes


class Example(NamedTuple):
    """A lesion or a candidate to be shown, and how telling it is."""

    case: str
    image: Findings
    region: Region
    weight: float


def draw(out: Path, cache: Cache, results: dict[str, Any]) -> None:
    """Draw the most telling examples; nothing where no test image was searched for lesions."""
    rows = [row for row in results["test"]["rows"] if "findings" in row]
    if not rows:
        return
    hit = results["test"]["details"]["hit"]
    threshold = reporting(results["settings"].get("threshold"))
    kinds = sorted_out(rows, Rule(hit["kind"], hit["threshold"]), threshold)
    best = {
        f"{name}: {len(found)}": sorted(found, key=lambda one: -one.weight)[:SHOWN] for name, found in kinds.items()
    }
    sheet = _sheet({title: [_tile(cache, one, threshold) for one in found] for title, found in best.items()})
    with files.writing(out / "figures" / "lesions.png") as beside:
        sheet.save(beside, format="PNG")


def _sheet(rows: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Titles with their tiles below them; a title without tiles takes no more than its line."""
    lines = {title: -(-len(tiles) // COLUMNS) for title, tiles in rows.items()}
    height = sum(TITLE + number * (SIDE + GAP) for number in lines.values())
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, height), "white")
    pen, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(size=24), 0
    for title, tiles in rows.items():
        pen.text((2, top + 2), title, fill="black", font=font)
        for number, tile in enumerate(tiles):
            row, column = divmod(number, COLUMNS)
            sheet.paste(tile, (column * (SIDE + GAP), top + TITLE + row * (SIDE + GAP)))
        top += TITLE + lines[title] * (SIDE + GAP)
    return sheet


def sorted_out(rows: Sequence[dict[str, Any]], rule: Rule, threshold: float) -> dict[str, list[Example]]:
    """Lesions found and missed, the surest and the largest first, and candidates that hit none, the surest first."""
    kinds: dict[str, list[Example]] = {"lesions found": [], "lesions missed": [], "false alarms": []}
    for row in rows:
        whole = Findings.from_json(row["findings"]).above(threshold)
        for label in dict.fromkeys([*(x.label for x in whole.lesions), *(x.label for x in whole.candidates)]):
            image = whole.of_class(label)
            hits = agreements(image, rule) > -np.inf if image.lesions and image.candidates else None
            for k, lesion in enumerate(image.lesions):
                scores = [one.score for c, one in enumerate(image.candidates) if hits is not None and hits[c, k]]
                kind = "lesions found" if scores else "lesions missed"
                if not lesion.ignore:
                    kinds[kind].append(
                        Example(row["id"], whole, lesion.region, max(scores, default=lesion.region.size))
                    )
            for c, one in enumerate(image.candidates):
                if hits is None or not hits[c].any():
                    kinds["false alarms"].append(Example(row["id"], whole, one.region, one.score))
    return kinds


def _tile(cache: Cache, one: Example, threshold: float) -> Image.Image:
    """The image, in 3D the slice through the middle of the region, with the boxes that lie on it."""
    case = cache.cases[one.case]
    z = round(one.region.centre[0]) if len(case.shape) == 3 else None
    tile = gray_slice(cache.image(one.case), case.intensity, z)
    zoom = SIDE / max(tile.size)
    tile = tile.resize((max(1, round(zoom * tile.width)), max(1, round(zoom * tile.height))))
    pen = ImageDraw.Draw(tile)
    regions = [(REFERENCE, lesion.region) for lesion in one.image.lesions]
    regions += [(FOUND, each.region) for each in one.image.candidates if each.score >= threshold]
    for colour, region in regions:
        if box := box_on_slice(region, case.shape, z):
            (top, left), (bottom, right) = ([zoom * v for v in corner] for corner in box)
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
    square = Image.new("RGB", (SIDE, SIDE), "black")
    square.paste(tile, ((SIDE - tile.width) // 2, (SIDE - tile.height) // 2))
    return square
