"""Cost of each part compared with plain MoCo-v2: python benchmarks/step.py [--device cuda] [--repeats 5] [--only 2D].

One table per setting. Each row is a whole step of all players on one encoder, with one batch and the same random views,
so that reading data does not count, compared with a step of another row. The parts run in turn, and the minimum of all
repeats is reported. On a CPU it is the processor time of one thread, so that other work on the machine does not count,
with small batches; on CUDA it is the wall time in bf16 with the published batches, with images per second and peak
memory. (The share of a step spent waiting for data is data_wait over time in the metrics.jsonl of a real run.)
ContrastiveCrop: 4 updates of a sample's box compared with 100 steps of MoCo-v2, both per sample.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import machine
import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from medssl.branches import adversary, restore
from medssl.crop.heat import box_from_map, heat_map
from medssl.engine import players
from medssl.methods import adco, barlow_twins, moco_v2, simsiam
from medssl.models.decoder import unet
from medssl.models.encoder import resnet
from medssl.pretext import Pretext
from medssl.recipe.frame import Optimizer
from medssl.types import Views

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = {"discrimination": 1.0, "restoration": 10.0, "adversarial": 0.001}
SPECS = {
    "main": Optimizer(kind="sgd", lr=0.03, momentum=0.9, weight_decay=1e-4),
    "bank": Optimizer(kind="sgd", lr=3.0, momentum=0.9, weight_decay=1e-4, schedule="constant"),
    "discriminator": Optimizer(kind="adam", lr=2e-4, betas=[0.5, 0.999], schedule="constant"),
}
REFRESHES, PASSES = 4, 100


class Setting(NamedTuple):
    dims: int
    depth: Literal[18, 50]
    side: int
    batch: int
    memory: int  # K: queue and bank alike


class Row(NamedTuple):
    what: str
    method: str | None
    restored: bool
    judge: int | Literal["auto"]  # channels of the discriminator's first layer, 0: none
    against: str


class Part(NamedTuple):
    step: Callable[[], object]
    flops: int


RENEWED = "MoCo-v2 + ContrastiveCrop"
MOCO, RESTORE, ADCO = "MoCo-v2", "restoration alone", "AdCo"
JUDGES = {width: f"restoration + adversary of {width} channels" for width in (64, 32)}
ROWS = [
    Row(MOCO, "moco_v2", False, 0, MOCO),
    Row(ADCO, "adco", False, 0, MOCO),
    Row("SimSiam", "simsiam", False, 0, MOCO),
    Row("Barlow Twins, widths 2048", "barlow_twins", False, 0, MOCO),
    Row(RESTORE, None, True, 0, MOCO),
    Row("MoCo-v2 + restoration", "moco_v2", True, 0, MOCO),
    Row("MoCo-v2 + restoration + adversary", "moco_v2", True, "auto", MOCO),
    Row("AdCo + restoration + adversary", "adco", True, "auto", MOCO),
    *(Row(what, None, True, width, RESTORE) for width, what in JUDGES.items()),
]
# The bar of the discriminator holds for the one that a recipe gets unless it says otherwise.
BARS = {
    dims: {ADCO: 1.10, JUDGES[adversary.WIDTHS[dims]]: most, RENEWED: 1.05} for dims, most in ((2, 1.35), (3, 1.15))
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["2D", "3D"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{_machine(options.device)}, torch {torch.__version__}; least of {options.repeats}")
    for setting in settings(options.device):
        if options.only in (None, f"{setting.dims}D"):
            report(setting, options.device, options.repeats)


def settings(device: str) -> list[Setting]:
    """The published sizes on CUDA, smaller batches on a CPU."""
    batches = (32, 8) if device == "cuda" else (4, 2)
    return [Setting(2, 50, 224, batches[0], 16384), Setting(3, 18, 64, batches[1], 4096)]


def report(setting: Setting, device: str, repeats: int) -> None:
    """Measure one setting and print its table."""
    views = _views(setting, device)
    parts = {row.what: part(row, setting, views, device) for row in ROWS}
    renew = refresh(setting, views, device)
    best = in_turn({"renew": renew.step} | {name: p.step for name, p in parts.items()}, repeats, device)
    print(
        f"\n{setting.dims}D ResNet-{setting.depth}, views of {setting.side}^{setting.dims}, batch {setting.batch}, "
        f"K {setting.memory}, {'bf16' if device == 'cuda' else 'float32'}\n"
        "| part | s per step | against | time | FLOPs | bar |\n|---|---|---|---|---|---|"
    )
    for row in ROWS:
        floor = parts[row.what].flops / parts[row.against].flops
        seconds = f"{best[row.what]:.3f}" + _speed(setting, parts[row.what].step, best[row.what], device)
        ratio = best[row.what] / best[row.against]
        print(line(row.what, seconds, row.against, ratio, floor, BARS[setting.dims].get(row.what)))
    share = REFRESHES / PASSES
    ratio, floor = 1 + share * best["renew"] / best[MOCO], 1 + share * renew.flops / parts[MOCO].flops
    print(line(RENEWED, f"{best['renew']:.3f} per update", MOCO, ratio, floor, BARS[setting.dims][RENEWED]))


def line(what: str, seconds: str, against: str, ratio: float, flops: float, bar: float | None) -> str:
    """One line of the table."""
    verdict = "" if bar is None else f"<= {bar:.2f}: {'met' if ratio <= bar else 'MISSED'}"
    return f"| {what} | {seconds} | {against} | {ratio:.3f} | {flops:.3f} | {verdict} |"


def part(row: Row, setting: Setting, views: Views, device: str) -> Part:
    """A step of all players, ready to run, and its floating-point operations."""
    torch.manual_seed(0)
    pretext = _pretext(row, setting).to(device)
    pretext.activate(pretext.names())
    optimizers = players.rebuild(pretext.players(), SPECS, {})

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            found = pretext(views)
        total = sum(WEIGHTS[name] * loss for name, loss in found.main.items()) + sum(found.adversaries.values())
        total.backward()
        players.step(optimizers, SPECS, players.norms(optimizers))
        pretext.after_step()

    return Part(step, _flops(step))


def refresh(setting: Setting, views: Views, device: str) -> Part:
    """Heat maps and boxes of a batch, in eval mode, as `pretraining.crop_refresh` makes them."""
    encoder = resnet.build(spatial_dims=setting.dims, in_channels=1, depth=setting.depth).to(device).eval()

    def step() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            for one in heat_map(encoder(views.x[0])).cpu():
                box_from_map(one, views.x[0].shape[2:], min_side=0.3)

    return Part(step, _flops(step))


def in_turn(steps: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """The least seconds of each, all of them once a round, so that a busy moment hits all."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = _now(device)
            step()
            taken[name].append(_now(device) - start)
    return {name: min(found) for name, found in taken.items()}


def _now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _speed(setting: Setting, step: Callable[[], object], seconds: float, device: str) -> str:
    if device == "cpu":
        return ""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    peak = torch.cuda.max_memory_allocated() - before
    return f" ({setting.batch / seconds:.0f} images/s, {peak / 2**30:.1f} GiB at work)"


def _pretext(row: Row, setting: Setting) -> Pretext:
    dims = setting.dims
    branches: dict[str, Any] = {}
    encoder = resnet.build(spatial_dims=dims, in_channels=1, depth=setting.depth)
    if row.restored:
        decoder = unet.build(spatial_dims=dims, channels=encoder.channels, strides=encoder.strides)
        head = restore.build(spatial_dims=dims, in_channels=decoder.out_channels, out_channels=1)
        branches |= {"decoder": decoder, "restore": head}
    if row.judge:
        branches["adversary"] = adversary.build(spatial_dims=dims, in_channels=1, base_channels=row.judge)
    return Pretext(encoder, method=_method(row.method, encoder, setting), **branches)


def _method(name: str | None, encoder: Any, setting: Setting) -> Any:
    made: dict[str | None, Callable[[], Any]] = {
        None: lambda: None,
        "moco_v2": lambda: moco_v2.build(encoder=encoder, queue=setting.memory),
        "adco": lambda: adco.build(encoder=encoder, negatives=setting.memory, init="gaussian"),
        "simsiam": lambda: simsiam.build(encoder=encoder, batch=setting.batch),
        "barlow_twins": lambda: barlow_twins.build(encoder=encoder, batch=setting.batch, hidden=2048, dim=2048),
    }
    return made[name]()


def _views(setting: Setting, device: str) -> Views:
    generator = torch.Generator().manual_seed(0)
    shape = (setting.batch, 1, *[setting.side] * setting.dims)
    x = tuple(torch.rand(shape, generator=generator).to(device) for _ in range(2))
    ids = torch.arange(setting.batch, device=device)
    return Views(x, x[0], torch.ones(shape, dtype=torch.bool, device=device), ids, ids)


class _NoTracker(ModuleTracker):
    """Only the total is asked for; hooks on modules cannot bear the gradient that the adversary takes on its way."""

    def __enter__(self) -> _NoTracker:
        return self

    def __exit__(self, *args: object) -> None:
        return


def _flops(step: Callable[[], object]) -> int:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoTracker()
    with counter:
        step()
    return counter.get_total_flops()


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{machine.cores()}, 1 thread"


if __name__ == "__main__":
    main()
