"""The pictures of docs/transforms.md, from phantoms: python docs/figures_views.py.

Written to docs/images/views_<preset>.png: the source with the windows of four views, each view's target, its input.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # no pyplot: no global state, no window
from matplotlib.patches import Rectangle
from PIL import Image

from medssl import views
from medssl.crop import random
from medssl.data.cache import Case
from medssl.data.phantom import ct_case, histology, mr_case, xray
from medssl.types import View, Window

IMAGES = Path(__file__).parent / "images"
VIEWS, COLOURS = 4, ("tab:orange", "tab:cyan", "tab:green", "tab:pink")


def main() -> None:
    """Draw one picture a preset."""
    IMAGES.mkdir(exist_ok=True)
    volume = (64, 96, 96)
    draw("ct", ct_case(np.random.default_rng(3), volume)[0][None], (-1000.0, 1000.0))
    draw("mr", mr_case(np.random.default_rng(3), volume)[0][None], None)
    draw("xray", xray(np.random.default_rng(3), (256, 256))[0][None], None)
    draw("pathology", np.moveaxis(histology(np.random.default_rng(3), (256, 256))[0], -1, 0), (0.0, 255.0))


def draw(name: str, image: np.ndarray, values: tuple[float, float] | None) -> None:
    """One picture; `values` become 0 and 1, None takes the 0.5th and 99.5th percentile."""
    low, high = np.percentile(image, [0.5, 99.5]) if values is None else values
    n, shape = image.ndim - 1, image.shape[1:]
    case = Case(
        id="phantom", shape=shape, spacing=(1.0,) * n, channels=len(image), modality="OT", preset=name, patient="0",
        split="", classes=(), has_label=False, intensity=((low, high),) * len(image),
        foreground=Window((0,) * n, shape), boxes=(), stem="", table={},
    )  # fmt: skip
    maker = views.build(spatial_dims=n, size=[96] * n if n == 3 else [192] * n, count=VIEWS, preset=name)
    made = maker(image, case, 0, random.build(scale=(0.25, 0.7)), np.random.default_rng(5))
    save(name, sheet(maker.whole(image, case, shape), made))


def sheet(source: np.ndarray, made: tuple[View, ...]) -> Figure:
    """Source and windows on the left; targets above inputs."""
    figure = Figure((2 * (len(made) + 1), 4.3), layout="compressed")
    axes = figure.subplots(2, len(made) + 1)
    show(axes[0, 0], source, "source and windows")
    axes[1, 0].axis("off")
    for column, (view, colour) in enumerate(zip(made, COLOURS, strict=True), start=1):
        (y, x), (height, width) = view.window.start[-2:], view.window.size[-2:]
        frame = Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=colour, linewidth=1.5)
        axes[0, 0].add_patch(frame)
        show(axes[0, column], view.target, f"target {column}")
        show(axes[1, column], view.x, f"input {column}")
        for panel in axes[:, column]:
            for spine in panel.spines.values():
                spine.set(visible=True, color=colour, linewidth=2)
    return figure


def show(axes: object, image: np.ndarray, title: str) -> None:
    """The middle slice of a volume, or the image; volumes are stored with up at the end of the first axis."""
    flat = image[:, image.shape[1] // 2] if image.ndim == 4 else image
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
