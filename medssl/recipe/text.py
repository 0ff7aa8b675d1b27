"""Reading the YAML of recipes, and `key.sub=value` overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from medssl.types import InputError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-4` as text; here it is a number. A key written twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} is written twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse(text: str, where: str) -> Any:
    """Parse YAML `text`; `where` names it in the error."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader creates plain values only
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}") from error


def split(override: str) -> tuple[str, Any]:
    """`train.steps=100` -> ("train.steps", 100)."""
    key, sign, text = override.partition("=")
    if not sign or not key or not all(key.split(".")):
        raise InputError(f"'{override}' is not of the form key.sub=value, for example train.steps=100")
    return key, parse(text, f"the value of {key}")


def plain_values(value: Any) -> Any:
    """Convert a Python value to what YAML would give: mappings to dictionaries, tuples to lists, paths to text."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part) for part in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set `content[a][b] = value` for the dotted key `a.b`; a group that is null or absent becomes a group."""
    *groups, last = key.split(".")
    for group in groups:
        if content.get(group) is None:
            content[group] = {}
        content = content[group]
        if not isinstance(content, dict):
            raise InputError(f"'{key}' cannot be set: '{group}' is the value {content!r}, not a group")
    content[last] = value
