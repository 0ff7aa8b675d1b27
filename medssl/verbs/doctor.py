"""`medssl doctor`: check the installation and hardware, and estimate what a recipe needs."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version

from medssl import __version__
from medssl.data.parallel import machine
from medssl.types import InputError

GIB = 1024**3
EXTRAS = {
    "dynamic_network_architectures": "encoder.kind=resenc: pip install --no-deps dynamic-network-architectures",
    "batchgeneratorsv2": "a baseline in benchmarks/views.py: pip install --no-deps batchgeneratorsv2 batchgenerators",
}


def doctor(recipe: str | None) -> int:
    """Print the state of this machine; returns exit code 2 if a required package is missing."""
    missing = _machine()
    if recipe is not None and not missing:
        _estimate(recipe)
    return 2 if missing else 0


def _machine() -> list[str]:
    print(f"medssl {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    free = shutil.disk_usage(".").free
    print(f"cores: {machine.cores()}, memory: {machine.memory() / GIB:.1f} GiB, free disk here: {free / GIB:.0f} GiB")
    missing = []
    for name in _required():
        try:
            print(f"  {name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
            print(f"  {name} is MISSING: pip install {name}")
    for module, use in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        print(f"  {module} (optional) {'installed' if found else f'not installed; for {use}'}")
    if "torch" not in missing:
        _devices()
    return missing


def _required() -> list[str]:
    """The packages that the metadata of medssl requires, without extras."""
    try:
        lines = [line for line in requires("medssl") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        print("  medssl runs from its source folder and is not installed: pip install -e . also checks its packages")
        return []
    return [line.split(";")[0].split(">")[0].split("=")[0].split("<")[0].strip() for line in lines]


def _devices() -> None:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            print(f"CUDA device {index}: {found.name}, {found.total_memory / GIB:.0f} GiB")
    else:
        print("no CUDA device: device=auto runs on the CPU, in 32-bit precision")
    if importlib.util.find_spec("torchvision") is not None and not torch.cuda.is_available():
        print("torchvision is installed beside a CPU torch: if imports fail with `torchvision::nms`, uninstall it")


def _estimate(name: str) -> None:
    """Memory and time of the steps of a pretraining recipe, measured on random views."""
    import torch

    from medssl.engine.pace import duration
    from medssl.planning.speed import measure
    from medssl.recipe import PretrainRecipe
    from medssl.runtime.known import load

    recipe, _ = load("pretrain", name, [])
    if not isinstance(recipe, PretrainRecipe):
        raise InputError(f"{name} is not a pretraining recipe: doctor can estimate no others")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"\nrecipe {name}: timing a few passes, under a minute ...", flush=True)
    found = measure(recipe, device)
    used = "" if found.memory is None else f", up to {found.memory / GIB:.1f} GiB of memory"
    print(f"measured on random views with {found.batch} sample(s) at a time{used}")
    for stage in found.stages:
        print(
            f"  from step {stage.start}: {stage.seconds:.3g} s a step of {recipe.train.batch} samples "
            f"({', '.join(stage.losses)})"
        )
    workers = f"{recipe.data.workers} worker(s)" if recipe.data.workers else "the training process itself"
    print(f"  of these, views need {found.views:.2g} s of one core; they are made by {workers}")
    print(f"{recipe.train.steps} steps would take about {duration(3600 * found.hours)} on this device")
