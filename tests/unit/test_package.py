"""What an installed medssl carries, and what it says it needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_editable, build_wheel
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLUGINS = {"pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"}  # pydicom finds them where a file needs them
NAMED = {"skimage": "scikit-image", "sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / build_wheel(str(folder))


def test_the_wheel_carries_recipes_weights_types_and_notices(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("recipes", "weights"):
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {f"medssl/_{folder}/{path.as_posix()}" for path in files} <= names
    assert len([name for name in names if name.startswith("medssl/_recipes/")]) > 20
    assert "medssl/py.typed" in names
    assert "medssl/report/page.html" in names
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}


def test_its_page_has_whole_addresses_and_its_modules_are_those_of_the_checkout(wheel):
    content = zipfile.ZipFile(wheel)
    about = content.read(next(name for name in content.namelist() if name.endswith("METADATA"))).decode()
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", about) == []
    assert "raw.githubusercontent.com" in about
    assert about.count("Project-URL:") >= 3
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "medssl").rglob("*.py")}
    assert {name for name in content.namelist() if name.startswith("medssl/") and name.endswith(".py")} == modules


def recipes(package, folder):
    """Where medssl lies and what `medssl recipes` prints in `folder`, with `package` first on the path."""
    start = f"import sys; sys.path.insert(0, {str(package)!r}); import medssl; print(medssl.__file__); "
    start += "sys.argv = ['medssl', 'recipes']; from medssl.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True, cwd=folder)
    where, *lines = done.stdout.splitlines()
    return Path(where), lines


def test_a_package_that_was_only_unpacked_finds_its_recipes(wheel, tmp_path):
    """As `pip install --target` leaves it: no folder of data beside the interpreter."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "target")
    where, lines = recipes(tmp_path / "target", tmp_path)
    assert where.is_relative_to(tmp_path)
    assert {line.split()[0] for line in lines} == {
        f"{path.parent.name}/{path.stem}" for path in (ROOT / "recipes").rglob("*.yaml")
    }


def test_an_editable_install_finds_the_recipes_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = zipfile.ZipFile(tmp_path / build_editable(str(tmp_path)))
    [path] = [content.read(name).decode().strip() for name in content.namelist() if name.endswith(".pth")]
    assert not [name for name in content.namelist() if name.startswith("medssl/")]
    where, lines = recipes(path, tmp_path)
    assert where == ROOT / "medssl" / "__init__.py"
    assert len(lines) == len(list((ROOT / "recipes").rglob("*.yaml")))


def distribution(requirement):
    return re.split(r"[><=!~\[; ]", requirement)[0].lower().replace("_", "-")


def test_what_is_imported_is_declared_and_the_reverse():
    names = set()
    for path in (ROOT / "medssl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.split(".")[0])
    names -= {*sys.stdlib_module_names, "medssl"}
    imported = {NAMED.get(name, name.lower().replace("_", "-")) for name in names}
    declared = {distribution(line) for line in PROJECT["dependencies"]}
    groups = PROJECT["optional-dependencies"]
    extras = {distribution(line) for group, lines in groups.items() if group != "dev" for line in lines}
    assert declared - PLUGINS <= imported
    assert imported <= declared | extras
    assert declared >= PLUGINS


def test_the_pins_fit_the_ranges():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {distribution(line): line.split("==")[1] for line in lines if "==" in line}
    assert pins["torch"] == "2.13.0"
    assert "torchvision" not in pins, "beside a CPU torch it breaks imports"
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(pins[distribution(requirement.name)]), requirement.name
