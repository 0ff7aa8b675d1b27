"""The figures of docs/methods, from phantoms and from the methods themselves: python docs/figures.py [name ...].

Written to docs/images/methods_<name>.png. Everything drawn is computed by the code that it explains.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import figures_toys
import numpy as np
import torch
from figures_toys import BLUE, RED, axes_of
from matplotlib.figure import Figure  # no pyplot: no global state, no window
from matplotlib.patches import Rectangle
from PIL import Image

from medssl import transforms
from medssl.branches import adversary, restore
from medssl.crop.contrastive import contrastive_window
from medssl.crop.heat import box_from_map, normalized_map
from medssl.crop.random import RandomCrop
from medssl.data.phantom.images import xray
from medssl.data.phantom.volumes import ct_case
from medssl.models.decoder import unet
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.transforms.corruption import dira, genesis
from medssl.transforms.filters import blur
from medssl.types import Views

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Draw all pictures, or those named."""
    torch.set_num_threads(1)
    IMAGES.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        if name in sys.argv[1:] or len(sys.argv) == 1:
            path = IMAGES / f"methods_{name}.png"
            drawn = BytesIO()
            draw().savefig(drawn, dpi=100, bbox_inches="tight", facecolor="white")
            Image.open(drawn).convert("RGB").quantize(256).save(path, optimize=True)
            print(f"{path}: {path.stat().st_size / 1024:.0f} kB")


def crop_boxes() -> Figure:
    """Heat map to box, and where windows have their centres; the heat is that of a net which fires at the opacities."""
    rng = np.random.default_rng(12)
    image, _, found = xray(rng, (192, 192), "opacity")
    hot = np.zeros((1, 192, 192), np.float32)
    for opacity in found:
        low, high = np.asarray(opacity[0]), np.asarray(opacity[1])
        hot[0][tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] = 1
    cells = torch.from_numpy(blur(hot, 6.0)[0]).reshape(12, 16, 12, 16).mean((1, 3))
    box = box_from_map(cells, (192, 192), min_side=0.3)
    figure, axes = axes_of(1, 3, 7.6, 2.8)
    for axis in axes:
        axis.imshow(image, cmap="gray")
        (y0, x0), (y1, x1) = (box.reshape(2, 2) * 192).tolist()
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=BLUE, lw=1.5))
        axis.set(xlim=(0, 192), ylim=(192, 0))
        axis.axis("off")
    axes[0].imshow(normalized_map(cells, (192, 192)), cmap="inferno", alpha=0.55)
    axes[0].set_title("heat map and its box", fontsize=9)
    random = RandomCrop(scale=(0.1, 0.3), ratio=(3 / 4, 4 / 3))
    for axis, alpha in zip(axes[1:], (1.0, 0.6), strict=True):
        windows = [contrastive_window((192, 192), box.tolist(), alpha, random, rng) for _ in range(300)]
        y, x = np.array([[s + n / 2 for s, n in zip(w.start, w.size, strict=True)] for w in windows]).T
        axis.scatter(x, y, s=3, color=RED, alpha=0.8)
        axis.set_title(f"300 centres, alpha = {alpha}", fontsize=9)
    return figure


def mae_blocks() -> Figure:
    """Blocks of a grid are erased; the loss counts there alone."""
    x = _slice()
    panels = [("target", x)]
    for block, ratio in ((16, 0.6), (8, 0.6), (16, 0.75)):
        masked = transforms.RandMaskBlocksd(block=block, ratio=ratio)
        drawn = masked.draw(np.random.default_rng(1), x.shape)
        panels.append((f"block {block}, ratio {ratio}", masked.apply(x, drawn)))
    return _gallery(panels)


def genesis_corruptions() -> Figure:
    """The four corruptions one by one, and the chain that training draws."""
    x, rng = _slice(), np.random.default_rng(4)
    alone = {
        "local shuffling": transforms.RandLocalShuffled(blocks=10_000),
        "Bezier curve": transforms.RandRemapd(),
        "in-painting": transforms.RandInpaintd(blocks=5, stop=0.05),
        "out-painting": transforms.RandOutpaintd(blocks=5, stop=0.05),
        "as drawn in training": genesis.build(),
    }
    return _gallery([("target", x), *((name, t.apply(x, t.draw(rng, x.shape))) for name, t in alone.items())])


def dira_branches() -> Figure:
    """The three losses on a tiny net that learned on phantoms for 600 steps; the last panel is D's 12 x 12 verdict."""
    torch.manual_seed(0)
    encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(16, 32, 64))
    decoder = unet.build(spatial_dims=2, channels=encoder.channels, strides=encoder.strides, norm="group")
    head = restore.build(spatial_dims=2, in_channels=decoder.out_channels, out_channels=1)
    judge = adversary.build(spatial_dims=2, in_channels=1, base_channels=8)
    pretext = Pretext(encoder, decoder=decoder, restore=head, adversary=judge)
    main, opponent = (torch.optim.Adam(pretext.players()[name], 2e-3) for name in ("main", "discriminator"))
    rng, views = np.random.default_rng(0), None
    for _ in range(600):
        views = _pairs(rng, 4)
        found = pretext(views)
        total = 10 * found.main["restoration"] + 0.001 * found.main["adversarial"] + found.adversaries["discriminator"]
        total.backward()
        for optimizer in (main, opponent):
            optimizer.step()
            optimizer.zero_grad()
    views = _pairs(np.random.default_rng(15), 1)
    restored = pretext.reconstruct(views.x[0])
    verdict = judge.discriminator(restored)
    shown = [
        ("view 2, to the key encoder", views.x[1]),
        ("view 1, to the encoder", views.x[0]),
        ("restored, x1'", restored),
        ("target, t1", views.target),
        ("verdict of D on x1'", verdict),
    ]
    figure = _gallery([(name, x[0].detach().numpy()) for name, x in shown])
    arrows = {0.5: "L_dis: embeddings agree", 1.5: "encoder, decoder", 2.5: "L_res: mean square", 3.5: "L_adv: D -> 1"}
    for place, text in arrows.items():
        figure.text((place + 0.5) / 5, 0.02, text, ha="center", fontsize=8, color=BLUE)
    return figure


def _pairs(rng: np.random.Generator, batch: int) -> Views:
    """Two distorted views of each of `batch` X-ray phantoms, and the clean first one."""
    clean = [xray(rng, (96, 96))[0][None].astype(np.float32) / 255 for _ in range(batch)]
    distortion = dira.build(spatial_dims=2)
    x = [
        torch.from_numpy(np.stack([distortion.apply(c, distortion.draw(rng, c.shape)) for c in clean]))
        for _ in range(2)
    ]
    target = torch.from_numpy(np.stack(clean))
    ids = torch.arange(batch)
    return Views(tuple(x), target, target > 1, ids, ids)


def _slice() -> np.ndarray:
    """The slice of a CT phantom with most lesion, (1,128,128) in [0,1]."""
    image, label = ct_case(np.random.default_rng(2), (32, 128, 128))
    image = image[int(label.sum((1, 2)).argmax())][::-1, ::-1]
    return np.clip((image[None] + 200) / np.float32(500), 0, 1).astype(np.float32)


def _gallery(panels: list[tuple[str, np.ndarray]]) -> Figure:
    figure, axes = axes_of(1, len(panels), 1.75 * len(panels), 2.2)
    for axis, (name, x) in zip(axes, panels, strict=True):
        axis.imshow(x[0], cmap="gray")
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    return figure


FIGURES = {
    "adco": figures_toys.adco_bank,
    "moco_v2": figures_toys.moco_queue,
    "barlow_twins": figures_toys.barlow_matrix,
    "simsiam": figures_toys.simsiam_collapse,
    "contrastive_crop": crop_boxes,
    "mae": mae_blocks,
    "models_genesis": genesis_corruptions,
    "dira": dira_branches,
}

if __name__ == "__main__":
    main()
