"""`medssl doctor`: check the installation and hardware, and estimate what a recipe needs."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any

from medssl import __version__
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.pretext import Pretext
    from medssl.recipe import PretrainRecipe
    from medssl.views import ViewMaker

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
    print(f"cores: {_cores()}, memory: {_memory() / GIB:.1f} GiB, free disk here: {free / GIB:.0f} GiB")
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
    """Parameters, memory and time of one training step of a pretraining recipe, measured on random views."""
    from medssl.build.parts import pretrain_parts
    from medssl.recipe import PretrainRecipe
    from medssl.runtime.known import load

    recipe, _ = load("pretrain", name, [])
    if not isinstance(recipe, PretrainRecipe):
        raise InputError(f"{name} is not a pretraining recipe: doctor can estimate no others")
    parts = pretrain_parts(recipe)
    pretext = parts.pretext
    count = sum(parameter.numel() for parameter in pretext.parameters())
    seconds, batch, memory = _one_step(recipe, pretext, parts.views)
    whole = seconds * recipe.train.batch / batch * recipe.train.steps / 3600
    print(f"\nrecipe {name}: {count / 1e6:.2f} M parameters ({4 * count / GIB:.2f} GiB, plus optimizer moments)")
    used = "" if memory is None else f", up to {memory / GIB:.1f} GiB of memory"
    print(f"one step of {batch} sample(s) took {seconds:.2f} s here, without data{used}")
    print(
        f"{recipe.train.steps} steps of {recipe.train.batch} samples would take about {whole:.1f} hours on this device"
    )


def _one_step(recipe: PretrainRecipe, pretext: Pretext, maker: ViewMaker) -> tuple[float, int, int | None]:
    """Seconds, batch and peak memory (if known) of a forward and backward pass on random views, once warm."""
    import torch

    from medssl.engine.meter import peak_memory

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = min(2, recipe.train.batch)  # batch norm needs at least two
    pretext.to(device)
    wait = pretext.method.delays(batch) if pretext.method is not None else {}
    pretext.activate(set(pretext.names()) - set(wait))  # all but the adversaries that start later than the first step
    views = _views(recipe.channels, maker, batch, device)
    _timed(lambda: _pass(pretext, views), device)
    seconds = _timed(lambda: _pass(pretext, views), device)
    return seconds, batch, peak_memory(device)


def _views(channels: int, maker: ViewMaker, batch: int, device: Any) -> Any:
    import torch

    from medssl.types import Views

    index = torch.arange(batch, device=device)
    images = tuple(torch.rand(batch, channels, *size, device=device) for size in maker.sizes)
    mask = torch.zeros((batch, 1, *maker.sizes[0]), dtype=torch.bool, device=device)
    corrupted = torch.rand_like(images[0]) if maker.apart else None
    return Views(images, torch.rand_like(images[0]), mask, index, index, corrupted)


def _pass(pretext: Pretext, views: Any) -> None:
    losses = pretext(views)
    sum([*losses.main.values(), *losses.adversaries.values()]).backward()
    pretext.zero_grad()


def _timed(run: Callable[[], None], device: Any) -> float:
    import torch

    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, AttributeError, OSError):  # not known on every system
        return float("nan")
