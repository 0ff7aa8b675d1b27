"""The figures of docs/transforms.md, from phantoms: python docs/figures_views.py.

Written to docs/images/views_<preset>.png: the source with the outlines of four views, and the target and input of each.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # no pyplot: no global state, no window
from PIL import Image

from medssl import views
from medssl.crop import random
from medssl.data import foreground, presets
from medssl.data.cache import Case
from medssl.data.phantom.cases import ct_case, histology, mr_case, xray
from medssl.report.panels import GROUND
from medssl.report.view_geometry import outline, place
from medssl.types import View, Window

IMAGES = Path(__file__).parent / "images"
VIEWS, COLOURS = 4, ("tab:orange", "tab:cyan", "tab:green", "tab:pink")


def main() -> None:
    """Draw one figure per preset."""
    IMAGES.mkdir(exist_ok=True)
    volume = (64, 96, 96)
    draw("ct", ct_case(np.random.default_rng(3), volume)[0][None], (-1000.0, 1000.0))
    draw("mr", mr_case(np.random.default_rng(3), volume)[0][None], None)
    draw("xray", xray(np.random.default_rng(3), (256, 256))[0][None], None)
    draw("pathology", np.moveaxis(histology(np.random.default_rng(3), (256, 256))[0], -1, 0), (0.0, 255.0))


def draw(name: str, image: np.ndarray, values: tuple[float, float] | None) -> None:
    """One picture; `values` become 0 and 1, None takes those that `prepare` would find."""
    n, shape = image.ndim - 1, image.shape[1:]
    found = foreground.mask(image, presets.find(name).crop)
    low, high = foreground.value_range(image[0], found, foreground.box(found)) if values is None else values
    case = Case(
        id="phantom", shape=shape, spacing=(1.0,) * n, channels=len(image), modality="OT", preset=name, patient="0",
        split="", classes=(), has_label=False, intensity=((low, high),) * len(image),
        foreground=Window((0,) * n, shape), boxes=(), stem="", table={},
    )  # fmt: skip
    maker = views.build(spatial_dims=n, size=[96] * n if n == 3 else [192] * n, count=VIEWS, preset=name)
    made = maker(image, case, 0, random.build(scale=(0.25, 0.7)), np.random.default_rng(5))
    save(name, sheet(maker.whole(image, case, shape), made, case))


def sheet(source: np.ndarray, made: tuple[View, ...], case: Case) -> Figure:
    """Source and outlines on the left; targets above inputs."""
    figure = Figure((2 * (len(made) + 1), 4.3), layout="compressed")
    axes = figure.subplots(2, len(made) + 1)
    show(axes[0, 0], source, "source, where views look")
    axes[0, 0].set_facecolor(GROUND)
    axes[0, 0].spines[:].set_visible(False)
    axes[1, 0].axis("off")
    for column, (view, colour) in enumerate(zip(made, COLOURS, strict=True), start=1):
        where = place(view, case)
        for line in outline(where, 0, case.shape[0] // 2).lines:
            axes[0, 0].plot(line[:, 1], line[:, 0], color=colour, linewidth=1.5)
        show(axes[0, column], view.target, f"target {column}", where.cuts[0])
        show(axes[1, column], view.x, f"input {column}", where.cuts[0])
        for panel in axes[:, column]:
            for spine in panel.spines.values():
                spine.set(visible=True, color=colour, linewidth=2)
    return figure


def show(axes: object, image: np.ndarray, title: str, cut: int | None = None) -> None:
    """A slice of a volume (the middle one), or the image; volumes are stored with up at the end of the first axis."""
    at = image.shape[1] // 2 if cut is None else cut
    flat = image[:, at] if image.ndim == 4 else image
    picture = np.moveaxis(flat, 0, -1) if len(flat) == 3 else flat[0]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, origin="lower" if image.ndim == 4 else "upper")
    axes.set_title(title, fontsize=8)
    axes.set(xticks=[], yticks=[])


def save(name: str, figure: Figure) -> None:
    """Write with a palette of 255 colours: small files, no difference that shows."""
    raw = BytesIO()
    figure.savefig(raw, dpi=90)
    image = Image.open(raw).convert("RGB").quantize(255)
    image.save(IMAGES / f"views_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
