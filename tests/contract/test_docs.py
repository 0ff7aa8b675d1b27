"""What the docs name exists: files, folders, links, dotted names, and the order of the import layers."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import medssl
from medssl.recipe import FRAMES

PACKAGE = Path(medssl.__file__).parent
ROOT = PACKAGE.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
PLACE = re.compile(r"(?<![\w./-])(\w[\w-]*(?:/[\w.-]+)*/?[\w-]*(?:\.(?:py|md|yaml|html|toml)|/))(?![\w*])")
DOTTED = re.compile(r"(?<![\w./=-])([a-z_]\w*(?:\.\w+)+)(?![\w/=])")
MODULES = [path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")]
GROUPS = {group for frame in FRAMES.values() for group in frame.model_fields}  # `views.size` is a key of a recipe


def code_of(page: Path) -> list[str]:
    return CODE.findall(page.read_text())


def known(place: str) -> bool:
    """Whether a path starts in the repository or in the package, and so is not one of the user's own."""
    first = place.split("/")[0]
    return any((base / first).is_dir() for base in (ROOT, PACKAGE))


def test_a_wrong_path_would_be_found():
    assert PLACE.findall("`transforms/prefetch.py` and data/scan/ and tests/a.py::test_b") == [
        "transforms/prefetch.py",
        "data/scan/",
        "tests/a.py",
    ]
    assert known("transforms/prefetch.py")
    assert not known("runs/pretrain/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_exist(page):
    places = {place for code in code_of(page) for place in PLACE.findall(code) if "/" in place and known(place)}
    bases = (ROOT, PACKAGE, page.parent)
    assert [place for place in sorted(places) if not any((base / place).exists() for base in bases)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    own = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]
    assert [link for link in own if not (page.parent / link).exists()] == []


def found(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_of_the_package_exist(page):
    names = {name for code in code_of(page) for name in DOTTED.findall(code) if name.startswith("medssl.")}
    assert [name for name in sorted(names) if not found(name)] == []


def test_the_design_names_what_exists():
    """There modules are called by their own names: `recipe.load`, `build.parts.validate`, `cases.expected`."""
    names = {name for code in code_of(ROOT / "docs" / "design.md") for name in DOTTED.findall(code)}
    wrong, right = [], 0
    for name in sorted(names):
        first = name.split(".")[0]
        if first in GROUPS - {"recipe"} or name.endswith((".py", ".md", ".yaml", ".csv", ".html", ".lock")):
            continue
        homes = [parts[:-1] for parts in MODULES if parts[-1] == first]
        homes += [()] if (PACKAGE / first).is_dir() else []
        exists = any(found(".".join(("medssl", *home, name))) for home in homes)
        right += exists
        wrong += [name] if homes and not exists else []
    assert wrong == []
    assert right >= 6


def test_the_design_states_the_layers_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    stated = re.search(r"`(cli > [^`]+)`", (ROOT / "docs" / "design.md").read_text())
    assert stated is not None
    assert stated[1].replace(" ", "").split(">") == [layer.replace(" ", "") for layer in contracts[0]["layers"]]
