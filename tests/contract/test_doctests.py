"""Every example in a docstring of the package gives what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import medssl
from medssl import kinds, transforms

ROOT = Path(medssl.__file__).parent
EXAMPLES = [path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text()]
NEEDS = {
    "medssl.models.encoder.resenc": "dynamic_network_architectures",
    "medssl.models.encoder.swin_unetr": "einops",
}  # extras without which an example cannot run

ARGUMENT = re.compile(r"^ +([a-z_0-9]+(?:, [a-z_0-9]+)*): ", re.MULTILINE)  # in a docstring


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", map(name_of, EXAMPLES))
def test_examples_give_what_they_say(name, tmp_path, monkeypatch):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found = doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={"np": np, "torch": torch})
    assert sum(len(test.examples) for test in found) == inspect.getsource(module).count(">>> ")
    runner = doctest.DocTestRunner(verbose=False)
    for test in found:
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("group", ["crop", "decoder", "encoder", "method", "tuning"])
def test_each_part_has_its_arguments_and_an_example(group):
    """What a recipe can name in this group says in its docstring what each key means, and shows a use."""
    for kind in kinds.kinds(group):
        module = kinds.resolve(group, kind)
        parts = [module.build, *(part for part in vars(module).values() if inspect.isclass(part))]
        own = [part for part in parts if part.__module__ == module.__name__ and part.__doc__]
        text = "\n".join([module.__doc__ or "", *(part.__doc__ for part in own)])
        explained = {key for line in ARGUMENT.findall(text) for key in line.split(", ")}
        missing = [key for key in inspect.signature(module.build).parameters if key not in explained]
        assert not missing, f"{module.__name__} does not explain {missing}"
        assert ">>> " in text, f"{module.__name__} has no example"


def test_each_transform_has_its_arguments_and_an_example():
    for name in transforms.__all__:
        text = getattr(transforms, name).__doc__
        assert "Args:" in text
        assert ">>> " in text, f"{name} has no example"
