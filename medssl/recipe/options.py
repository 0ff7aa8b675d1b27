"""Run options, which are given beside a recipe, and the base class of both."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from medssl.times import plain

Time = Annotated[int | float | str, AfterValidator(plain)]  # see medssl.times
Positive = Annotated[int, Field(ge=1)]
NOT_OF = {  # run options that a verb does not use
    "finetune": ("overfit_check", "force", "probe", "probe_every"),
    "benchmark": (
        *("init", "init_parts", "overfit_check", "force", "probe", "probe_every"),
        *("devices", "num_nodes", "strategy"),
    ),
}


class Group(BaseModel):
    """A group of a recipe: unknown keys and wrong types are refused, never coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Options(Group):
    """Run options: written `key=value` like settings, but not part of the recipe or its hash.

    --help shows their descriptions (`medssl.recipe.options_help`).
    """

    out: Annotated[str | None, Field(description="DIR|run directory to write; required")] = None
    init: Annotated[str | None, Field(description="RUN|FILE|initial weights, or scratch for random ones")] = None
    init_parts: Annotated[
        str | list[str] | None, Field(description="[encoder,...]|parts of init to load; default: all that match")
    ] = None
    resume: Annotated[bool, Field(description="true|continue the run in out where it stopped")] = False
    overwrite: Annotated[bool, Field(description="true|replace the run in out")] = False
    overfit_check: Annotated[
        bool, Field(description="true|overfit a few samples and report which losses decrease; nothing is saved")
    ] = False
    dry_run: Annotated[bool, Field(description="true|check recipe and data without running")] = False
    check: bool = False  # the earlier name of these two
    force: Annotated[bool, Field(description="true|run on a CPU even if the recipe is made for a GPU")] = False
    pictures: Annotated[
        bool, Field(description="true|show real radiographs in report and figures; check them for burned-in text")
    ] = False
    probe: Annotated[
        str | None, Field(description="CACHE|a cache with labels: log the score of a linear probe during pretraining")
    ] = None
    probe_every: Annotated[Time, Field(description="TIME|how often to probe; default: every 10% of the run")] = 0.1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto|cpu|cuda|device to use")] = "auto"
    devices: Annotated[Positive, Field(description="N|number of devices per node")] = 1
    num_nodes: Annotated[Positive, Field(description="N|number of nodes, each started by torchrun or SLURM")] = 1
    strategy: Annotated[str, Field(description="auto|ddp|how to train on several devices")] = "auto"


def options_help(verb: str) -> list[tuple[str, str]]:
    """The run options of a verb: how each is written, and what it does."""
    fields = {name: field.description for name, field in Options.model_fields.items() if field.description}
    for name in NOT_OF.get(verb, ()):
        del fields[name]
    parts = {name: text.rsplit("|", 1) for name, text in fields.items()}
    return [(f"{name}={written}", meaning) for name, (written, meaning) in parts.items()]
