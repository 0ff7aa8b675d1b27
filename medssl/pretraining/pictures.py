"""The figures that pretraining writes to its run directory: views with boxes and attention, and restorations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from medssl import view_dataset
from medssl.crop.heat import heat_map
from medssl.engine.log import Board
from medssl.models.mode import evaluating
from medssl.pretraining.crop_refresh import FullVolumes
from medssl.report import figures, restored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from medssl.pretraining.state import PretrainState
    from medssl.types import CropPolicy
    from medssl.view_dataset import ViewsDataset
    from medssl.views import ViewMaker

SHOWN, JUDGED = 3, 16  # samples in the figures; samples in the errors


@torch.no_grad()
def draw(run: PretrainState) -> None:
    """Write figures/views.png and figures/restored.png, and both for TensorBoard; only rank 0 calls this."""
    folder = run.out / "figures"
    folder.mkdir(exist_ok=True)
    data = view_dataset.ViewsDataset(run.cache, run.ids, run.maker, run.policy, run.recipe.seed)
    numbers = list(range(min(SHOWN, len(run.ids))))
    epoch = (run.steps - 1) * run.recipe.train.batch // len(run.ids)  # the last views that training used
    with evaluating(run.pretext.float()):  # images are float32, whatever the training precision
        sheet = figures.contact_sheet(
            data,
            numbers,
            epoch=epoch,
            heat=_heat(run, numbers),
            title="views and crops",
            about=described(run.resolved, run.maker, run.policy),
        )
        sheet.savefig(folder / "views.png", dpi=110)
        if run.pretext.restore is not None:
            samples = [_restored(run, data, epoch, i) for i in range(min(JUDGED, len(run.ids)))]
            found = restored.errors(samples)
            run.log.say("restoration, mean squared error: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()))
            restored.sheet(samples[:SHOWN]).savefig(folder / "restored.png", dpi=110)
    board = Board(run.out / "tb", step=run.step)
    for name in ("views", "restored"):
        if (file := folder / f"{name}.png").is_file():
            board.picture(f"pictures/{name}", file.read_bytes(), run.step)
    board.close()


def _heat(run: PretrainState, numbers: list[int]) -> dict[int, Tensor]:
    wholes = FullVolumes(run.cache, run.ids, run.maker, run.maker.sizes[0])
    maps = {}
    for number in numbers:
        x = wholes[number].x[None].to(run.fabric.device)
        maps[number] = heat_map(run.pretext.encoder(x), run.policy.level)[0].cpu()
    return maps


def _restored(run: PretrainState, data: ViewsDataset, epoch: int, number: int) -> restored.Restored:
    view = data[epoch, number].views[0]
    x = torch.from_numpy(view.seen)[None].to(run.fabric.device)
    made = run.pretext.reconstruct(x)[0].float().cpu().numpy()
    return restored.Restored(run.ids[number], view.seen, made, view.target, view.mask)


def described(resolved: Mapping[str, Any], maker: ViewMaker, policy: CropPolicy) -> str:
    """How the views of a resolved recipe are made, in one line."""
    made, seed = resolved["views"], resolved["seed"]
    crop = f"{resolved['crop']['kind']} crop"
    if policy.level is not None and policy.box(0) is None:
        crop += " before its first refresh (init=RUN shows its boxes)"
    order = ", published order" if made["faithful"] else ""
    corruption = _corruption(made["corrupt"] if maker.preset.corrupt else None)
    alone = " for restoration alone" if maker.apart else ""
    return f"views for {made['preset']}, corrupted by {corruption}{alone}, {crop}, seed {seed}{order}"


def _corruption(spec: str | dict[str, Any] | None) -> str:
    return str(spec["kind"]) if isinstance(spec, dict) else spec or "nothing"
