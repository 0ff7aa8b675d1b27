"""From a kind and its arguments in a recipe to an object; the signature of `build` is the schema."""

from __future__ import annotations

import inspect
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from medssl.kinds import PACKAGES, kinds, named, resolve, varied
from medssl.messages import suggest
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = ["PACKAGES", "call", "check", "filled", "kinds", "make", "resolve"]


def make(group: str, settings: Mapping[str, Any], supplied: Mapping[str, Any]) -> Any:
    """Build the object of a group with a `kind`; its `build` receives those of `supplied` that it names."""
    arguments = dict(settings)
    kind = arguments.pop("kind")
    return call(variant(group, settings).build, arguments, f"{group} ({kind})", supplied)


def variant(group: str, settings: Mapping[str, Any]) -> Any:
    """The module of the kind that settings name, as it is for them; see `varied`."""
    return varied(resolve(group, settings["kind"]), settings)


def call(build: Callable[..., Any], arguments: Mapping[str, Any], where: str, supplied: Mapping[str, Any]) -> Any:
    """Call `build` with the checked `arguments` of the recipe and those of `supplied` that its signature names."""
    checked = check(build, arguments, where, supplied)
    own = {_key(name): name for name in inspect.signature(build).parameters}
    return build(**{own[key]: value for key, value in checked.items()}, **named(build, supplied))


def check(
    build: Callable[..., Any], arguments: Mapping[str, Any], where: str, supplied: Collection[str] = ()
) -> dict[str, Any]:
    """Check a recipe's `arguments` against the signature of `build`, strictly: only int is converted, to float.

    Returns them in the types of `build` (a list becomes a tuple if needed). Raises `InputError` naming the key.
    """
    fields = _fields(build, supplied)
    make_model: Any = create_model
    model = make_model("Arguments", __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)
    try:
        # By way of JSON, whose strict mode accepts an array as tuple and a whole number as float, and nothing else.
        checked = model.model_validate_json(json.dumps(arguments))
    except ValidationError as error:
        raise InputError(_sentence(error.errors()[0], where, fields)) from error
    except TypeError as error:
        raise InputError(f"{where} has a value that is not a number, text, list or group: {error}") from error
    return {name: getattr(checked, name) for name in arguments}


def filled(build: Callable[..., Any], arguments: Mapping[str, Any], supplied: Collection[str] = ()) -> dict[str, Any]:
    """The arguments with every default of `build` filled in, as plain lists, numbers and strings."""
    defaults = {name: default for name, (_, default) in _fields(build, supplied).items() if default is not ...}
    return json.loads(json.dumps({**defaults, **arguments}))


def _fields(build: Callable[..., Any], supplied: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """The arguments a recipe may set: name -> (type, default, or ... if it is required)."""
    parameters = {name: p for name, p in inspect.signature(build).parameters.items() if name not in supplied}
    # Only these annotations are evaluated: types of supplied objects may exist for type checkers only.
    annotated: Any = SimpleNamespace(__annotations__={name: p.annotation for name, p in parameters.items()})
    hints = get_type_hints(annotated, globalns=getattr(build, "__globals__", {}))
    return {_key(name): (hints[name], ... if p.default is p.empty else p.default) for name, p in parameters.items()}


def _key(name: str) -> str:
    """The key of an argument in a recipe: `from` of `from_`, which is a word of Python."""
    return name.removesuffix("_")


def choices(build: Callable[..., Any], ending: str) -> dict[str, tuple[Any, ...]]:
    """The choices for each argument of `build` whose name ends in `ending`: name -> the literals of its type."""
    others = [name for name in inspect.signature(build).parameters if not name.endswith(ending)]
    return {name: get_args(kind) for name, (kind, _) in _fields(build, others).items()}


def _sentence(problem: Any, where: str, names: Collection[str]) -> str:
    key = ".".join(str(part) for part in problem["loc"] if str(part) in names or isinstance(part, int))
    if problem["type"] == "extra_forbidden":
        unknown = str(problem["loc"][-1])
        return f"unknown key '{unknown}' in {where}{suggest(unknown, names)}"
    if problem["type"] == "missing":
        return f"'{key}' is missing in {where} and has no default: set it"
    message = problem["msg"].replace("Input should be", "should be")
    return f"'{key}' in {where} {message}, but {problem['input']!r} was given"
