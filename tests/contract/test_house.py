"""The shape of the package: imports without circles, rooms of a size that can be seen whole, short functions."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from statistics import median

import medssl

ROOT = Path(medssl.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Every module of the package that a file names in an import, lazy ones and those for type checkers too."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    modules = found & set(MODULES)
    # `from package import module` runs the package's __init__ first, but needs no more of it than that it is there
    return {name for name in modules if not any(other.startswith(f"{name}.") for other in modules)} - {name_of(path)}


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names of one circle, or none: a depth-first walk that meets its own path."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        path.append(name)
        for following in sorted(graph[name]):
            if found := visit(following):
                return found
        path.pop()
        done.add(name)
        return []

    for name in sorted(graph):
        if found := visit(name):
            return found
    return []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_imports_go_in_a_circle():
    assert len(GRAPH) == len(FILES) > 150
    assert circle(GRAPH) == []


def test_a_room_holds_at_most_16_modules():
    rooms = Counter(path.parent.relative_to(ROOT).as_posix() for path in FILES if path.name != "__init__.py")
    assert {room: count for room, count in rooms.items() if count > 16} == {}


def test_files_and_functions_can_be_seen_whole():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 250} == {}
    assert median(count for name, count in lines.items() if MODULES[name].name != "__init__.py") < 110
    functions = [
        (f"{name_of(path)}.{node.name}", node.end_lineno - node.lineno + 1)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None
    ]
    assert [(name, length) for name, length in functions if length > 40] == []
