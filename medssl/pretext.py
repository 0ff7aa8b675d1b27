"""The pretext task: a base method, restoration and an adversary on one encoder. One forward gives all losses."""

from __future__ import annotations

import functools
from itertools import chain
from typing import TYPE_CHECKING

from torch import Tensor, nn

from medssl.kinds import named
from medssl.models import norm, spread
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from medssl.branches.adversary import Adversary
    from medssl.branches.restore import Restore
    from medssl.methods.base import Method
    from medssl.types import Features, Views

MAIN = ("discrimination", "restoration", "adversarial")


class Pretext(nn.Module):
    """An encoder with the parts that a recipe names: a method, a decoder with a restoration head, an adversary.

    Each loss is on or off (`activate`). Parameters that no active loss depends on are frozen: they get no gradient, not
    even zeros, and belong to no player. A player is one optimizer with its parameters: the main network, or an
    adversary.

    Args:
        encoder: see `medssl.types.Encoder`.
        method: what compares views; None: restoration only.
        decoder: from features to images; needed for restoration.
        restore: head and loss of restoration; None: no restoration.
        adversary: judges restored images; None: no adversary.

    Raises InputError for parts that cannot work together.

    >>> from medssl.methods import simsiam
    >>> from medssl.models.encoder import tiny
    >>> encoder = tiny.build(spatial_dims=2, in_channels=1, channels=(8, 16))
    >>> pretext = Pretext(encoder, method=simsiam.build(encoder=encoder, batch=8, hidden=16, dim=16))
    >>> pretext.names(), list(pretext.players())
    (('discrimination',), ['main'])
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        method: Method | None = None,
        decoder: nn.Module | None = None,
        restore: Restore | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__()
        _check(method, decoder, restore, adversary)
        self.encoder, self.method, self.decoder = encoder, method, decoder
        self.restore, self.adversary = restore, adversary
        answers = {"discrimination": method, "adversarial": adversary}
        played = {loss: part.adversaries() for loss, part in answers.items() if part is not None}
        self._adversaries = {name: found for part in played.values() for name, found in part.items() if found}
        self._answers = {
            name: loss for loss, part in played.items() for name in part
        }  # the main loss that each opposes
        self.surveys = False  # whether the next forwards also look at the features of each level
        self._features: Features | None = None  # of the first encoding in a forward that does
        self._trainable = self._parts()
        self._waiting = set(method.delays(1)) if method else set()
        self.activate(set(self.names()) - self._waiting)

    def names(self) -> tuple[str, ...]:
        """The names of all losses that can be computed, those of the main network first."""
        has = (self.method, self.restore, self.adversary)
        return (*(name for name, part in zip(MAIN, has, strict=True) if part is not None), *self._adversaries)

    def activate(self, names: Collection[str]) -> None:
        """Turn on exactly the losses in `names`.

        An adversary is on when the main loss that it opposes is on; one that starts later than its method must be
        named too.
        """
        unknown = set(names) - set(self.names())
        if unknown:
            raise InputError(f"no such loss: {sorted(unknown)}; this pretext has {sorted(self.names())}")
        adversaries = {
            r for r in self._adversaries if self._answers[r] in names and (r in names or r not in self._waiting)
        }
        self._active = {name for name in MAIN if name in names} | adversaries
        on = {id(p) for p in chain.from_iterable(self.players().values())}
        for parameter in chain(*self._trainable.values(), *self._adversaries.values()):
            parameter.requires_grad_(id(parameter) in on)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each active player, "main" first."""
        parts = [part for name, part in self._trainable.items() if name in self._active]
        adversaries = {name: parameters for name, parameters in self._adversaries.items() if name in self._active}
        return {"main": _unique(chain.from_iterable(parts)), **adversaries}

    def forward(self, views: Views) -> Losses:
        """The active losses of one batch. Each view, and the input of restoration, is encoded at most once."""
        self._features = None
        encode = functools.cache(lambda view: self._encode(views, view))
        main: dict[str, Tensor] = {}
        adversaries: dict[str, Tensor] = {}
        if self.method is not None and "discrimination" in self._active:
            found = self.method(views, encode)
            main |= found.main
            adversaries |= found.adversaries
        if self.restore is not None and self.decoder is not None and self._active & {"restoration", "adversarial"}:
            features = encode(0) if views.corrupted is None else self._corrupted(views.corrupted)
            decoded = self.decoder(features, views.x[0].shape[2:])
            reconstruction, loss = self.restore(decoded, views)
            if "restoration" in self._active:
                main["restoration"] = loss
            if self.adversary is not None and "adversarial" in self._active:
                found = self.adversary(reconstruction, views.target)
                main |= found.main
                adversaries |= found.adversaries
        return Losses(main, adversaries)

    def reconstruct(self, x_BC: Tensor) -> Tensor:
        """Restore corrupted images (B,C,*S). Raises InputError if the pretext task has no restoration."""
        if self.restore is None or self.decoder is None:
            raise InputError("nothing is restored in this pretraining: its recipe has restore=null")
        reconstruction: Tensor = self.restore.head(self.decoder(self.encoder(x_BC), x_BC.shape[2:]))
        return reconstruction

    def check_views(self, count: int) -> None:
        """Raises InputError where the method cannot compare `count` views."""
        if self.method is not None:
            self.method.check_views(count)

    def begin(self) -> None:
        """Call once at step 0, after initial weights are loaded, not on resume: the key encoder becomes the encoder."""
        if self.method is not None:
            self.method.begin(self.encoder)

    def after_step(self, step: int = 0) -> None:
        """Call after every optimizer step, numbered from 0; also while discrimination is off."""
        if self.method is not None:
            self.method.after_step(self.encoder, **named(self.method.after_step, {"step": step}))

    @property
    def diagnostics(self) -> dict[str, Tensor]:
        """What the last forward found, scalars by name: of the method and, if it `surveys`, of the levels."""
        found = self.method.diagnostics if self.method is not None and "discrimination" in self._active else {}
        if self._features is None:
            return found
        return {**found, **spread.of_levels(self.encoder, self._features)}

    def _encode(self, views: Views, view: int) -> Features:
        found: Features = self.encoder(views.x[view])
        self._keep(found)
        return found

    def _keep(self, features: Features) -> None:
        if self.surveys and self._features is None:
            self._features = features

    def _corrupted(self, x_BC: Tensor) -> Features:
        """Features of the input of restoration; if there is a method, they do not enter batch-norm running statistics.

        The encoder is later used on complete images, whose statistics differ from those of masked ones.
        """
        if "discrimination" not in self._active:
            found: Features = self.encoder(x_BC)
        else:
            with norm.frozen_statistics(self.encoder):
                found = self.encoder(x_BC)
        self._keep(found)
        return found

    def _parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each main loss trains; those frozen beforehand (the key encoder) stay frozen."""
        theirs = {id(p) for p in chain.from_iterable(self._adversaries.values())}
        reach = {
            "discrimination": (self.encoder, self.method),
            "restoration": (self.encoder, self.decoder, self.restore),
            "adversarial": (self.encoder, self.decoder, self.restore),
        }
        return {
            name: [p for part in parts if part for p in part.parameters() if p.requires_grad and id(p) not in theirs]
            for name, parts in reach.items()
        }


def _check(method: object, decoder: object, restore: object, adversary: object) -> None:
    if method is None and restore is None:
        raise InputError("both method and restore are null, nothing would be learned: name one of them")
    if adversary is not None and restore is None:
        raise InputError(
            "adversary is set but restore is null: add restore, whose output it judges, or set adversary=null"
        )
    if restore is not None and decoder is None:
        raise InputError("restore is set and decoder is null: add a decoder or set restore=null")


def _unique(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(p): p for p in parameters}.values())
