"""The structure of a recipe: its groups, their common keys and types, and the error messages.

The arguments of a group with a `kind` are checked against the signature of that kind's `build` by `medssl.build.parts`,
since only there the kinds are imported.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from medssl.messages import suggest
from medssl.recipe import later
from medssl.recipe.epochs import plain_times
from medssl.recipe.options import Group, Options, Positive, Time
from medssl.recipe.paths import PATHS
from medssl.types import InputError


def _kind(group: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(group.get("kind"), str):
        raise ValueError("needs a `kind`, the name of the module to use")
    return group


def _players(optimizers: Any) -> Any:
    """Remove optimizers set to null, so that an override can remove one from a shipped recipe."""
    return {k: v for k, v in optimizers.items() if v is not None} if isinstance(optimizers, dict) else optimizers


def _short(tuning: Any) -> Any:
    """`tuning: frozen` is `tuning: {kind: frozen}`."""
    return {"kind": tuning} if isinstance(tuning, str) else tuning


Kind = Annotated[dict[str, Any], AfterValidator(_kind)]
Timed = Annotated[dict[str, Any], AfterValidator(plain_times)]
Precision = Annotated[
    Literal["32", "bf16", "64"], BeforeValidator(lambda value: str(value) if type(value) is int else value)
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Phantom(Group):
    """Phantom volumes made for the run itself, so that a recipe works without any data."""

    cases: Positive = 12
    size: list[Positive]
    seed: Seed = 0


class Data(Group):
    """Where images come from: one of `cache` (of `prepare`), `manifest` (of `scan`) or `phantom`.

    `splits` is a JSON file, subset -> ids; with `key`, the .key file beside the manifest, it may hold file names.
    """

    cache: str | None = None
    manifest: str | None = None
    phantom: Phantom | None = None
    splits: str | None = None
    key: str | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None
    workers: Annotated[int, Field(ge=0)] = 0


class Optimizer(Group):
    """The optimizer of one player; `clip` limits the gradient norm of that player only."""

    kind: Literal["sgd", "adam", "adamw"]
    lr: Annotated[float, Field(gt=0, le=1e30)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: [0.9, 0.999]
    )
    schedule: Literal["cosine", "constant", "poly"] = "cosine"
    warmup: Time = 0
    final_lr: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.final_lr > self.lr:
            raise ValueError(f"has final_lr={self.final_lr} above lr={self.lr}, but the rate must fall: lower final_lr")
        return self

    @model_validator(mode="after")
    def _looks_ahead(self) -> Self:
        if self.nesterov and (self.kind != "sgd" or self.momentum == 0):
            raise ValueError(
                "has nesterov=true, which needs sgd with momentum: set kind=sgd and momentum, or leave it out"
            )
        return self


class Train(Group):
    """The training budget. `batch` is the number of samples per optimizer step, over devices and accumulation."""

    steps: Positive
    batch: Annotated[int, Field(ge=1, le=1_000_000)]
    accumulate: Positive = 1
    precision: Precision = "32"
    checkpoint_every: Time = 0.1
    validate_every: Time = 0.1
    log_every: Positive = 1


class Recipe(Group):
    """The groups that pretraining and fine-tuning have in common."""

    seed: Seed = 0
    spatial_dims: Literal[2, 3]
    channels: Positive = 1
    data: Data = Data()
    encoder: Kind
    decoder: Kind | None = None
    optimizers: Annotated[dict[str, Optimizer], BeforeValidator(_players)]
    train: Train

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain dictionaries with the default values of this file."""
        return self.model_dump(mode="json")

    def hash(self) -> str:
        """A hash of everything that determines the result, but not of where the data lies."""
        content = later.without(self.resolved())
        for key in (*PATHS, "workers"):  # manifest.lock identifies the data itself
            content["data"].pop(key)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class PretrainRecipe(Recipe):
    """The groups of a pretraining recipe."""

    views: dict[str, Any]
    crop: Annotated[Kind, AfterValidator(plain_times)]
    method: Annotated[Kind, AfterValidator(plain_times)] | None = None
    restore: Timed | None = None
    adversary: Timed | None = None


class FinetuneRecipe(Recipe):
    """The groups of a fine-tuning recipe."""

    task: Kind
    augment: dict[str, Any]
    tuning: Annotated[Kind, BeforeValidator(_short), AfterValidator(plain_times)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _untrained(cls, content: Any) -> Any:
        """A probe trains nothing, so that it needs neither optimizers nor a budget."""
        task = content.get("task") if isinstance(content, dict) else None
        if isinstance(task, dict) and task.get("kind") == "probe":
            return {"optimizers": {}, "train": {"steps": 1, "batch": 64}, **content}
        return content


class Primary(Group):
    """The comparisons with training from scratch that are fixed beforehand, corrected for multiplicity (Holm)."""

    fraction: str | float
    inits: Annotated[list[str], Field(min_length=1)] | None = None  # None: all but scratch


class BenchmarkRecipe(Group):
    """The grid of a benchmark: inits x tasks x fractions x seeds."""

    inits: Annotated[dict[str, str | dict[str, Any]], Field(min_length=1)]
    tasks: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    fractions: Annotated[list[str | float], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    primary: Primary | None = None
    workers: Positive = 1  # processes that make runs at the same time on this machine
    submit: dict[str, Any] | None = None  # as SLURM jobs instead: what submitit's executor takes, e.g. timeout_min

    @model_validator(mode="after")
    def _primary_is_run(self) -> Self:
        if self.primary is not None and str(self.primary.fraction) not in map(str, self.fractions):
            raise ValueError(f"primary.fraction {self.primary.fraction} is not one of the fractions {self.fractions}")
        unknown = set(self.primary.inits or []) - set(self.inits) if self.primary is not None else set()
        if unknown:
            raise ValueError(f"primary.inits has {sorted(unknown)}, which is not among the inits")
        if self.submit is not None and self.workers > 1:
            raise ValueError(f"workers={self.workers} are processes here, but submit makes every run a job: drop one")
        return self

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain dictionaries."""
        return self.model_dump(mode="json")


FRAMES: dict[str, type[Group]] = {"pretrain": PretrainRecipe, "finetune": FinetuneRecipe, "benchmark": BenchmarkRecipe}
AnyRecipe = PretrainRecipe | FinetuneRecipe | BenchmarkRecipe


def validate(frame: Any, content: dict[str, Any], where: str) -> Any:
    """Check `content` against `frame`. Raises `InputError` with one sentence about the first problem."""
    try:
        return frame.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {_sentence(frame, error.errors()[0])}") from error


def _sentence(frame: Any, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("function-", "constrained-")))
    if problem["type"] == "extra_forbidden":
        *groups, last = problem["loc"]
        names = _fields(frame, groups) + ([] if groups else list(Options.model_fields))
        return f"unknown key '{key}'{suggest(str(last), names)}"
    if problem["type"] == "missing":
        return f"'{key}' is missing and has no default: set it in the recipe or as {key}=VALUE"
    given = "" if isinstance(problem["input"], dict) and problem["input"] else f", but {problem['input']!r} was given"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    return f"'{key}' {message}{given}"


def _fields(frame: Any, groups: list[Any]) -> list[str]:
    """The keys allowed in a group; an entry of a dictionary of groups (`optimizers.main`) is not a field."""
    for group in groups:
        field = getattr(frame, "model_fields", {}).get(group)
        if field is not None:
            frame = _model(field.annotation)
    return list(getattr(frame, "model_fields", {}))


def _model(annotation: Any) -> Any:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if hasattr(c, "model_fields")), annotation)
