"""Copy the modules that a bundle runs, with all of ours that they import, under the name `scripts`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import medssl
from medssl.data.files import write
from medssl.export.bundle import transforms

ROOT = Path(medssl.__file__).parent


def write_scripts(folder: Path) -> None:
    """The transforms and every module of ours that they import, under the name `scripts`."""
    for module in sorted(_closure(transforms.__name__)):
        source = _file(module)
        assert source is not None
        text = '"""Modules of medssl that prepare images."""\n' if module == "medssl" else source.read_text("utf-8")
        write(
            folder / source.relative_to(ROOT), re.sub(r"^(\s*(?:from|import) )medssl\b", r"\1scripts", text, flags=re.M)
        )


def _closure(start: str) -> set[str]:
    """A module and all of ours that it imports when it is run, with the packages that hold them."""
    todo, found = [start], set[str]()
    while todo:
        module = todo.pop()
        if module in found:
            continue
        found.add(module)
        if module != "medssl":  # whose own file is not taken
            todo += [module.rpartition(".")[0], *_imports(module)]
    return found


def _imports(module: str) -> list[str]:
    """The modules of ours that a module imports, but for type checkers."""
    source = _file(module)
    assert source is not None
    tree = ast.parse(source.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "medssl":
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if _file(name) is not None]


def _file(module: str) -> Path | None:
    """The file of a module or package of ours; None for another name."""
    place = ROOT.joinpath(*module.split(".")[1:])
    files = (place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)
