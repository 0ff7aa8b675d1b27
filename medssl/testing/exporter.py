"""Laws of export formats: the weights are complete, nothing is overwritten, and no path is disclosed."""

from __future__ import annotations

import contextlib
import io
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

import medssl
from medssl.data.phantom.cases import phantom_cache
from medssl.engine import checkpoint
from medssl.kinds import resolve
from medssl.models.weights import of_part
from medssl.pretraining.loop import train
from medssl.recipe import Options, PretrainRecipe
from medssl.recipe.paths import PATHS
from medssl.testing import laws
from medssl.testing.laws import law
from medssl.types import Exporter, InputError

if TYPE_CHECKING:
    from types import ModuleType

SAME = 0.01  # TorchScript numbers its classes: the same network has a few bytes more at the second export
RECIPE: dict[str, Any] = {
    "spatial_dims": 2,
    "views": {"size": [16, 16], "preset": "xray"},
    "crop": {"kind": "random"},
    "encoder": {"kind": "tiny", "channels": [8, 16]},
    "decoder": {"kind": "unet", "norm": "group", "skips": "add", "final": "shuffle"},
    "restore": {},
    "optimizers": {"main": {"kind": "adam", "lr": 0.001}},
    "train": {"steps": 2, "batch": 2},
}


def check_exporter(exporter: str | ModuleType, /, run: Path | None = None) -> None:
    """Check an export format on `run`, or on a pretraining of two steps. Raises `LawError`.

    - It has the interface of `medssl.types.Exporter`: `export(run, out)` returns `out`, which contains a file.
    - An `out` that is not empty raises an `InputError` and stays unchanged; a folder that is not a run raises one too.
    - Exporting twice writes files with the same names and nearly the same sizes, which contain no path of the run, its
      data or medssl itself.
    - If the module has `load(folder)`, it returns the encoder's tensors by name, equal to those of the run.

    Args:
        exporter: the format: a kind or a module with `export`.
        run: a run directory; None: a short pretraining on phantoms.
    """
    module: Any = resolve("export", exporter) if isinstance(exporter, str) else exporter
    laws.interface(module, Exporter, "an exporter")
    with TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        _check(module, (run or _run(place)).resolve(), place)


def _run(folder: Path) -> Path:
    """A pretraining of two steps on phantoms."""
    phantom_cache(folder / "private_cache", 4, (24, 24), 0, "xray")
    recipe = PretrainRecipe.model_validate({**RECIPE, "data": {"cache": str(folder / "private_cache")}})
    with contextlib.redirect_stdout(io.StringIO()):
        train(recipe, Options(out=str(folder / "private_run"), device="cpu"))
    return folder / "private_run"


def _check(module: Any, run: Path, folder: Path) -> None:
    out, again = folder / "out", folder / "again"
    with laws.within("a run can be exported"):
        returned = module.export(run, out)
        module.export(run, again)
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    law("export returns the folder that it was given", Path(returned) == out, f"{returned}")
    law("export writes a file into it", any(files.values()), f"{len(files)} files, all empty")
    other = {path.relative_to(again).as_posix(): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    differ = files.keys() ^ other.keys() | {
        name for name in files.keys() & other.keys() if not isclose(len(files[name]), len(other[name]), rel_tol=SAME)
    }
    law("exporting twice writes the same files", not differ, f"{laws.sentence(differ)} differ")
    told = [name for name, content in files.items() for place in _places(run) if place.encode() in content]
    law("no file tells where the run or its data lay", not told, f"{laws.sentence(told)} does")
    _refused(module, run, out, "a folder that holds something is refused")
    kept = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    law(
        "a folder that is refused is left as it is",
        kept == files,
        f"{laws.sentence(kept.keys() ^ files.keys())} changed",
    )
    (folder / "no_run").mkdir()
    _refused(module, folder / "no_run", folder / "third", "a folder that is no run is refused")
    if hasattr(module, "load"):
        _check_round_trip(module, run, out)


def _places(run: Path) -> list[str]:
    data = checkpoint.load(checkpoint.find(run))["recipe"].get("data", {})
    installed = str(Path(medssl.__file__).parent)  # its folder may lie in that of a person
    return [installed, str(run), *(value for key in PATHS if (value := data.get(key)))]


def _refused(module: Any, run: Path, out: Path, name: str) -> None:
    with laws.within(f"{name} with an InputError"):
        try:
            module.export(run, out)
        except InputError:
            return
    law(f"{name} with an InputError", False, "it was taken")


def _check_round_trip(module: Any, run: Path, out: Path) -> None:
    expected = of_part(checkpoint.load(checkpoint.find(run))["weights"], "encoder")
    with laws.within("what was exported can be loaded"):
        found = dict(module.load(out))
    name = "a round trip gives the encoder's tensors"
    law(name, found.keys() == expected.keys(), f"{laws.sentence(found.keys() ^ expected.keys())} on one side only")
    differ = [key for key, tensor in expected.items() if not torch.equal(tensor.cpu(), found[key].to(tensor.dtype))]
    law(name, not differ, f"{laws.sentence(differ)} differ")
