"""Run options, which stand beside a recipe, and what both are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from medssl.times import plain

Time = Annotated[int | float | str, AfterValidator(plain)]  # see medssl.times
Positive = Annotated[int, Field(ge=1)]
NOT_OF = {  # run options that a verb has no use for
    "finetune": ("overfit_check", "probe", "probe_every"),
    "benchmark": ("init", "init_parts", "overfit_check", "probe", "probe_every", "devices", "num_nodes", "strategy"),
}


class Group(BaseModel):
    """A group of a recipe: unknown keys and wrong types are refused, never coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Options(Group):
    """Run options: written `key=value` like the rest, but no part of the recipe nor of its hash.

    Their descriptions are what --help says (`medssl.recipe.options_help`).
    """

    out: Annotated[str | None, Field(description="DIR|the run directory; required")] = None
    init: Annotated[str | None, Field(description="RUN|FILE|weights to start from; scratch: none")] = None
    init_parts: Annotated[
        str | list[str] | None, Field(description="[encoder,...]|which parts of init to load; default: all that fit")
    ] = None
    resume: Annotated[bool, Field(description="true|continue the run in out exactly where it stopped")] = False
    overwrite: Annotated[bool, Field(description="true|replace the run in out")] = False
    overfit_check: Annotated[
        bool, Field(description="true|learn a few samples by heart, say which losses learn, and keep nothing")
    ] = False
    dry_run: Annotated[bool, Field(description="true|check the recipe without running it")] = False
    check: bool = False  # as these two were called before there were two
    pictures: Annotated[
        bool, Field(description="true|show real radiographs in report and figures (burned-in text may show)")
    ] = False
    probe: Annotated[
        str | None, Field(description="CACHE|pretrain: how well a linear probe tells its labels, as a curve")
    ] = None
    probe_every: Annotated[Time, Field(description="TIME|how often; default: 10% of the run")] = 0.1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto|cpu|cuda|where to compute")] = "auto"
    devices: Annotated[Positive, Field(description="N|devices per node")] = 1
    num_nodes: Annotated[Positive, Field(description="N|nodes, each started by torchrun or SLURM")] = 1
    strategy: Annotated[str, Field(description="auto|ddp|how several devices work together")] = "auto"


def options_help(verb: str) -> list[tuple[str, str]]:
    """The run options of a verb, as they are written and what they do."""
    fields = {name: field.description for name, field in Options.model_fields.items() if field.description}
    for name in NOT_OF.get(verb, ()):
        del fields[name]
    parts = {name: text.rsplit("|", 1) for name, text in fields.items()}
    return [(f"{name}={written}", meaning) for name, (written, meaning) in parts.items()]
