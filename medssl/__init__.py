"""medssl: self-supervised pretraining for medical images, from a folder of scans to a benchmark of the transfer gain.

    import medssl

    run = medssl.pretrain("phantom_tiny", {"train.steps": 20}, out="runs/phantom")
    encoder = medssl.load_encoder(run)

Every verb of the command line is a function here (`medssl.api`). Functions and classes are imported when they are first
used, so that `import medssl` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medssl import testing, transforms
    from medssl.api import (
        benchmark,
        convert,
        export_weights,
        finetune,
        list_recipes,
        open_cache,
        plan,
        predict,
        prepare,
        pretrain,
        preview,
        scan,
        write_report,
    )
    from medssl.probing.embed import embed
    from medssl.runs import Run
    from medssl.trained import Encoder, Model, load_encoder, load_model
    from medssl.types import InputError, Interrupted

_WHERE = {  # each name's module; one that is a module itself stands for all of it
    **dict.fromkeys(
        ["scan", "prepare", "convert", "open_cache", "plan", "preview", "pretrain", "finetune"], "medssl.api"
    ),
    **dict.fromkeys(["benchmark", "predict", "write_report", "export_weights", "list_recipes"], "medssl.api"),
    **dict.fromkeys(["load_encoder", "load_model", "Encoder", "Model"], "medssl.trained"),
    **dict.fromkeys(["InputError", "Interrupted"], "medssl.types"),
    "embed": "medssl.probing.embed",
    "Run": "medssl.runs",
    "testing": "medssl.testing",
    "transforms": "medssl.transforms",
}
__all__ = [
    "Encoder",
    "InputError",
    "Interrupted",
    "Model",
    "Run",
    "__version__",
    "benchmark",
    "convert",
    "embed",
    "export_weights",
    "finetune",
    "list_recipes",
    "load_encoder",
    "load_model",
    "open_cache",
    "plan",
    "predict",
    "prepare",
    "pretrain",
    "preview",
    "scan",
    "testing",
    "transforms",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module 'medssl' has no attribute {name!r}")
    module = import_module(_WHERE[name])
    found = module if _WHERE[name] == f"medssl.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
