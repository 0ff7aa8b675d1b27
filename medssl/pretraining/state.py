"""The state of a running pretraining, saved to and restored from checkpoints exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medssl.engine import checkpoint
from medssl.pretraining import rank_consistency
from medssl.recipe.paths import portable
from medssl.runtime import finite, resume
from medssl.runtime.training import TrainState
from medssl.view_dataset import Sample, ViewsDataset

if TYPE_CHECKING:
    from medssl.engine.collapse import Watch
    from medssl.engine.schedule import Weight
    from medssl.pretext import Pretext
    from medssl.probing.online import OnlineProbe
    from medssl.recipe import PretrainRecipe
    from medssl.types import CropPolicy
    from medssl.views import ViewMaker


class SameViews(ViewsDataset):
    """The views of epoch 0 in every epoch."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The views of sample `index`, as in epoch 0."""
        return super().__getitem__((0, key[1]))


@dataclass(kw_only=True)
class PretrainState(TrainState):
    """Everything that one pretraining holds."""

    recipe: PretrainRecipe
    ids: list[str]
    pretext: Pretext
    maker: ViewMaker
    policy: CropPolicy
    weights: dict[str, Weight]
    fixed: bool = False  # each sample shows the same views at every step
    on: set[str] = field(default_factory=set)  # losses of the running stage
    delays: dict[str, int] = field(default_factory=dict)  # of each adversary, in steps after the start of its method
    unlogged: dict[str, float] = field(default_factory=dict)  # box statistics for the next record
    watches: list[Watch] = field(default_factory=list)
    probe: OnlineProbe | None = None  # on rank 0 only

    @cached_property
    def views(self) -> ViewsDataset:
        """The views of the samples, one data set for all stages: it keeps small images in memory."""
        kind = SameViews if self.fixed else ViewsDataset
        made = kind(self.cache, self.ids, self.maker, self.policy, self.recipe.seed)
        made.drafted = self.maker.device == "cuda"
        return made


def save(run: PretrainState) -> None:
    """Write last.pt and step_N.pt; call on every rank, rank 0 writes.

    Raises InputError if weights are not finite or the ranks differ.
    """
    finite.check_weights(run.fabric, run.pretext, run.step)
    rank_consistency.check(run.fabric, run.pretext, run.policy, run.step)
    content = _content(run)
    if run.fabric.is_global_zero:
        folder = run.out / "checkpoints"
        checkpoint.save(folder / f"step_{run.step}.pt", content)
        checkpoint.copy(folder / f"step_{run.step}.pt", folder / resume.LAST)
    run.fabric.barrier()


def restore(run: PretrainState, content: dict[str, Any]) -> None:
    """Restore everything but the optimizers, which `restore_optimizers` loads once they exist."""
    state = content["state"]
    run.step = state["step"]
    run.pretext.load_state_dict(content["weights"])
    run.policy.load(state["crop"])
    # Checkpoints from before delays were saved lack them: at that time no bank could be loaded full.
    run.delays, run.unlogged = state.get("waits", run.delays), state.get("unlogged", {})
    for watch, ill in zip(run.watches, state.get("ill", []), strict=False):
        watch.strikes = ill
    resume.take(run.pretext, run.fabric.device, state["ranks"])


def restore_optimizers(run: PretrainState, content: dict[str, Any]) -> None:
    """Restore the state of the optimizers of the current stage."""
    for name, state in content["optimizers"].items():
        if name in run.optimizers:
            run.optimizers[name].load_state_dict(state)


def _content(run: PretrainState) -> dict[str, Any]:
    return {
        "format": checkpoint.FORMAT,
        "verb": "pretrain",
        "weights": dict(run.pretext.state_dict()),
        "optimizers": {name: player.state_dict() for name, player in run.optimizers.items()},
        "state": {
            "step": run.step,
            "crop": run.policy.state(),
            "waits": run.delays,
            "unlogged": run.unlogged,
            "ill": [watch.strikes for watch in run.watches],
            "origin": run.origin._asdict(),
            "ranks": resume.of_ranks(run.pretext, run.fabric.device),
        },
        "recipe": portable(run.resolved),
        "preprocessing": run.cache.preprocessing,
        "data": resume.data(run.cache, {"train": run.ids}, run.origin.patients, run.origin.seen(run.cache)),
    }
