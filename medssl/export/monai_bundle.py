"""A MONAI bundle of a fine-tuned 3D segmentation: it runs without medssl and gives the masks of `medssl predict`.

TorchScript with its metadata, an inference configuration, and scripts: the very modules that prepare images here.
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import torch
from torch import nn

from medssl import __version__
from medssl.build import finetune_setup
from medssl.data.files import write, write_json
from medssl.export import learned
from medssl.export.bundle import scripts
from medssl.models import windows
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from medssl.export.learned import Learned

MODEL = "models/model.ts"
NEEDED = ("nibabel", "scipy", "scikit-image", "pytorch-ignite", "fire")
README = """# {name}

A 3D segmentation ({classes}) fine-tuned with medssl {version}, as a MONAI bundle. It runs without medssl:

```
pip install "monai>={monai}" {needed}
cd FOLDER          # this folder; elsewhere put it on PYTHONPATH
python -m monai.bundle run --meta_file configs/metadata.json --config_file configs/inference.json \\
    --dataset_dir /path/to/images --output_dir /path/to/masks
```

Every `*.nii.gz` in `dataset_dir` becomes a mask on its own grid: 0 is background, then {classes}. Orientation, crop,
spacing and values are made by `scripts/`, the modules of medssl that prepared the training images (preset `{preset}`).
Windows of {size} voxels overlap by {overlap:.0%}.

Weights: {licence}. `scripts/` is part of medssl, Apache-2.0. This is research software and no medical device.
"""
LOGGING = """[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""


class _Inference(nn.Module):
    """A network as it is used: logits, averaged over mirror images where the task asks for that."""

    def __init__(self, network: nn.Module, mirrors: Sequence[int]) -> None:
        super().__init__()
        self.network, self.mirrors = network, tuple(mirrors)

    def forward(self, x_BC: Tensor) -> Tensor:
        return windows.mirrored(self.network, self.mirrors)(x_BC)


def export(run: Path, out: Path, *, name: str = "medssl_segmentation", license: str = "unknown") -> Path:
    """Write the network of a fine-tuned 3D segmentation as a bundle into `out`; returns `out`.

    Args:
        run: a run directory or checkpoint of a fine-tuning.
        out: a new folder.
        name: of the bundle.
        license: of the weights.

    Raises:
        InputError: the run is no 3D segmentation, or `out` is taken.
    """
    found = learned.read(run)
    if found.content["recipe"].get("task", {}).get("kind") != "segment" or found.recipe.spatial_dims != 3:
        raise InputError(
            f"a bundle holds a fine-tuned 3D segmentation, but {run} is none: run `medssl finetune` with "
            "task.kind=segment, or export --to huggingface or torch_export"
        )
    task, network = _network(found)
    script = traced(network, (1, found.recipe.channels, *found.size()))
    inference, metadata = _inference(found, task), _metadata(found, task, name, license)
    with learned.folder(out) as folder:
        (folder / "models").mkdir()
        write_json(folder / "configs" / "inference.json", inference)
        write_json(folder / "configs" / "metadata.json", metadata)
        write(folder / "configs" / "logging.conf", LOGGING)
        _save(script, folder / MODEL, metadata, inference)
        scripts.write_scripts(folder / "scripts")
        write(folder / "docs" / "README.md", _readme(found, task, name, license))
        write(folder / "LICENSE", f"Weights: {license}\nscripts/: part of medssl, Apache License 2.0\n")
    return folder


def traced(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """The network as TorchScript, for any size and batch. Raises `InputError` for one that cannot be traced."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes are looked at: they are the same for what is allowed
        script = torch.jit.trace(network, x, check_trace=False)
        other = torch.cat([x, x.flip(2)])
        same = torch.allclose(script(other), network(other), atol=1e-4)
    if not same:
        raise InputError("this network depends on the batch, so that it cannot be traced: use --to safetensors")
    return script


def _network(found: Learned) -> tuple[Any, nn.Module]:
    recipe: Any = found.recipe
    made: Any = finetune_setup.trained(recipe, found.content["weights"])
    task, network, _ = made
    return task, _Inference(network.eval(), task.settings.mirrors).eval()


def _save(script: Any, path: Path, metadata: dict[str, Any], inference: dict[str, Any]) -> None:
    from monai.data.torchscript_utils import save_net_with_metadata

    extra = {"inference.json": json.dumps(inference).encode()}
    whole = path.with_name("whole.ts")
    save_net_with_metadata(script, str(whole), meta_values=metadata, more_extra_files=extra)
    # What TorchScript keeps for tracebacks names the files of this installation, and a path may name a person.
    with ZipFile(whole) as saved, ZipFile(path, "w") as kept:
        for entry in saved.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry, saved.read(entry))
    whole.unlink()


def _inference(found: Learned, task: Any) -> dict[str, Any]:
    """The configuration of `python -m monai.bundle run`."""
    loaded = {"_target_": "LoadImaged", "keys": "image", "dtype": None}
    prepared = {"_target_": "scripts.export.bundle.transforms.Prepared", "keys": "image"}
    restored = {"_target_": "scripts.export.bundle.transforms.Restored", "keys": "pred"}
    restored |= {"keep": task.settings.keep}
    saved = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_postfix": "",
        "resample": False,
    }
    saved |= {"separate_folder": False, "output_dtype": "$torch.uint8"}
    inferer = {"roi_size": list(found.size()), "sw_batch_size": 2, "overlap": task.settings.overlap, "mode": "gaussian"}
    evaluator = {"device": "@device", "val_data_loader": "@dataloader", "network": "@network", "inferer": "@inferer"}
    return {
        "imports": ["$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": f"$torch.jit.load(@bundle_root + '/{MODEL}', map_location=@device)",
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [loaded, {**prepared, "preprocessing": found.preprocessing}],
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", **inferer},
        "postprocessing": {"_target_": "Compose", "transforms": [restored, saved]},
        "evaluator": {"_target_": "SupervisedEvaluator", **evaluator, "postprocessing": "@postprocessing"},
        "run": ["$@evaluator.run()"],
    }


def _metadata(found: Learned, task: Any, name: str, license: str) -> dict[str, Any]:
    size, channels = list(found.size()), found.recipe.channels
    names = {str(i): each for i, each in enumerate(["background", *task.classes])}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": found.preprocessing["preset"],
        "num_channels": channels,
    }
    image |= {"spatial_shape": size, "dtype": "float32", "value_range": [0, 1], "is_patch_data": True}
    image |= {"channel_def": {str(i): f"channel {i}" for i in range(channels)}}
    mask = {"type": "image", "format": "segmentation", "num_channels": len(names), "spatial_shape": size}
    mask |= {"dtype": "float32", "value_range": [], "is_patch_data": True, "channel_def": names}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by medssl {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {package: version(package) for package in NEEDED[:3]},
        "name": name,
        "task": f"segmentation of {', '.join(task.classes)}",
        "description": "A network fine-tuned with medssl; preprocessing and inference are those of `medssl predict`.",
        "authors": "see docs/README.md",
        "copyright": f"weights: {license}",
        "data_type": "nifti",
        "intended_use": "Research. No medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": mask}},
    }


def _readme(found: Learned, task: Any, name: str, license: str) -> str:
    return README.format(
        name=name,
        classes=", ".join(task.classes),
        version=__version__,
        monai=version("monai"),
        needed=" ".join(NEEDED),
        preset=found.preprocessing["preset"],
        size=" x ".join(map(str, found.size())),
        overlap=task.settings.overlap,
        licence=license if license != "unknown" else "licence not said at export",
    )
