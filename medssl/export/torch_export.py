"""The encoder as a program of torch.export for any batch and size, which runs without medssl."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from medssl import __version__
from medssl.data.files import write, write_json
from medssl.export import learned
from medssl.models import sizes
from medssl.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from medssl.export.learned import Learned

PROGRAM = "encoder.pt2"
README = """# The encoder of a `medssl {verb}` as a program

Made by medssl {version} with torch {torch}; it runs with torch alone, from this version on:

```python
import torch

encoder = torch.export.load("{program}").module()
maps = encoder(torch.rand(2, {channels}, {size}))  # images in [0, 1] -> feature maps, fine to coarse
```

The batch is free, and so are the sides, which are multiples of {divisor}. `config.json` says how images are prepared
(`preprocessing`).
"""


class _Encoder(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BC: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.network(x_BC)
        return found


def export(run: Path, out: Path) -> Path:
    """Write the encoder of a run as a program (encoder.pt2), with config.json and README.md, into `out`; returns `out`.

    Raises `InputError` if its network cannot be traced or `out` is taken.
    """
    found = learned.read(run)
    program = _program(found)
    with learned.folder(out) as folder:
        torch.export.save(program, folder / PROGRAM)
        write_json(folder / "config.json", found.config())
        write(folder / "README.md", _readme(found))
    return folder


def load(folder: Path) -> dict[str, Tensor]:
    """The tensors of an exported encoder, by name."""
    state = torch.export.load(folder / PROGRAM).module().state_dict()
    return {name.removeprefix("network."): tensor for name, tensor in state.items()}


def _program(found: Learned) -> torch.export.ExportedProgram:
    network = found.encoder()
    divisors = found.divisor()
    # Two voxels at the deepest level: a side of 1 would count as a constant, and no other size would be allowed.
    deepest = sizes.per_axis(network.strides[-1], found.recipe.spatial_dims)
    sides = [d * max(2, -(-2 * s // d)) for d, s in zip(divisors, deepest, strict=True)]
    free = dict.fromkeys(range(2 + found.recipe.spatial_dims), torch.export.Dim.AUTO) | {1: torch.export.Dim.STATIC}
    x = torch.rand(2, found.recipe.channels, *sides)
    try:
        program = torch.export.export(_Encoder(network), (x,), dynamic_shapes=(free,))
    except (RuntimeError, ValueError) as error:  # what torch raises for what it cannot trace
        kind = found.content["recipe"]["encoder"]["kind"]
        raise InputError(f"torch.export cannot trace encoder {kind}: use --to safetensors or huggingface") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the files of this installation, and a path may name a person
    return program


def _readme(found: Learned) -> str:
    return README.format(
        verb=found.content["verb"],
        version=__version__,
        torch=torch.__version__.split("+")[0],
        program=PROGRAM,
        channels=found.recipe.channels,
        size=", ".join(map(str, found.size())),
        divisor=" x ".join(map(str, found.divisor())),
    )
