"""From run options to devices: Lightning Fabric, on the devices that exist or were requested."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import DoublePrecision
from lightning_fabric.strategies.ddp import DDPStrategy

from medssl import ranks
from medssl.messages import warn
from medssl.types import InputError

if TYPE_CHECKING:
    from medssl.recipe import Options


class Double(DoublePrecision):
    """Float64 everywhere, for comparisons without rounding effects."""

    def convert_output(self, data: Any) -> Any:
        """Return losses unchanged; Fabric's own precision plugin rounds them to float32."""
        return data


PRECISION: dict[str, Any] = {
    "32": {"precision": "32-true"},
    "bf16": {"precision": "bf16-mixed"},
    "64": {"plugins": [Double()]},
}


def fabric(options: Options, precision: str) -> Fabric:
    """Fabric for the devices of `options`, not launched yet. Raises InputError for devices that do not exist.

    On a CPU bf16 becomes float32, so that one recipe serves both: where the CPU has bf16 itself (avx512_bf16), torch
    2.13 gives infinite or NaN gradients of convolutions, 2D and 3D, on maps of 1 or 2 voxels per side.
    """
    _check_started(options.devices, options.num_nodes)
    device = _device(options.device)
    instead = device == "cpu" and precision == "bf16"
    there = torch.cuda.device_count() if device == "cuda" else options.devices
    if options.devices > there:
        raise InputError(f"devices={options.devices}, but this machine has {there} CUDA device(s): set devices={there}")
    if options.strategy not in ("auto", "ddp"):
        raise InputError(f"strategy={options.strategy} is not supported: use auto or ddp")
    warnings.filterwarnings("ignore", message="`broadcast_buffers`")  # its replacement came after torch 2.8
    several = options.devices * options.num_nodes > 1
    # Bank and queue are equal on all ranks by construction; broadcasting them would cost 64 MiB per forward. And a
    # new wrapper (new stage, resumed run) must not overwrite every rank's batch statistics with those of rank 0.
    strategy = DDPStrategy(broadcast_buffers=False, init_sync=False) if several else "auto"
    made = Fabric(
        accelerator=device,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=strategy,
        **PRECISION["32" if instead else precision],
    )
    if instead and made.is_global_zero:
        warn("train.precision=bf16 is used on CUDA only; this CPU run uses float32")
    return made


def start(fabric: Fabric) -> None:
    """Start the processes of all devices and connect them; each of them runs what follows."""
    fabric.launch()
    ranks.part_at_exit()


def _check_started(devices: int, nodes: int) -> None:
    """Refuse processes that were not told of each other: each would be a whole run, writing to the same place."""
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ  # which srun may have started once per node
    started = int(os.environ.get("WORLD_SIZE" if torchrun else "SLURM_STEP_NUM_TASKS", 1))
    if started > 1 and started != devices * nodes:
        raise InputError(
            f"{'torchrun' if torchrun else 'srun'} started {started} processes, but devices={devices} and "
            f"num_nodes={nodes} make {devices * nodes}: set devices to the processes of one node, and num_nodes"
        )


def _device(asked: str) -> str:
    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch finds no CUDA device here: set device=cpu or install CUDA torch")
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
