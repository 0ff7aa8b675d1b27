"""AdCo (Hu et al. 2021): the negatives are parameters, trained against the encoder.

Arguments of `build`:
    encoder, samples, steps: supplied by medssl: the encoder, the number of training samples, and that of steps.
    negatives: rows of the bank; auto is the largest power of two that is not above `samples` or 65536.
    init: what the bank starts from. keys: unit vectors, stored as the first steps produce them. gaussian: `dim`
        normal entries per row, drawn from `seed`, the same on every rank; such a row has a norm of about sqrt(dim),
        as in the release, and turns more slowly.
    fill: what the rows in excess of the number of samples start from, for which the data has no keys; keys refuses
        such a bank.
    temperature, bank_temperature: of the loss of the encoder, and of that of the bank.
    momentum: of the key encoder: the part of its weights that it keeps in a step.
    hidden: width of the head.
    dim: length of the embedding.
    head_norm: "batch" puts a batch norm into the head, which encoders without batch norm need; "none".
    in_batch_negatives: whether the keys of the other samples in the batch are negatives too.
    prune: cosine above which a learned negative is left out of the encoder's denominator (Hosseinzadeh Taher et
        al. 2023: 0.8).
    symmetric: whether each of two views is query and key in turn.
    exclude: which keys are no negatives of a query: those of the same "patient" or "sample"; "none".
    shuffle_bn: whether keys are shuffled over ranks, for encoders with batch norm.
    learn_from: a time, counted from the start of the method, before which the bank is an ordinary queue of keys, as
        in MoCo-v2, and nothing of it is learned; 0, as published, for a bank that is learned from the start. `init`
        and `fill` say nothing where there is a queue.
    seed: of the bank and the shuffling.

>>> from medssl.models.encoder import tiny
>>> build(encoder=tiny.build(spatial_dims=2, in_channels=1), samples=1000).bank.shape
torch.Size([512, 128])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import losses, ranks
from medssl.methods import base, keys
from medssl.models import heads
from medssl.times import Time, plain, steps_of
from medssl.types import InputError, Losses

if TYPE_CHECKING:
    from collections.abc import Callable

    from medssl.types import Features, Views


class AdCo(base.Method):
    """InfoNCE at temperature tau against K learned negatives (the bank).

    The bank is trained by plain SGD on minus the same InfoNCE, at its own temperature tau_m. It is W (K,D), stored
    unnormalised and normalised when read. The adversarial loss has a gradient in W only; the main loss sees W frozen.
    Until W is filled with keys, every form of the method runs as in the first pass of the release: view 0 is the only
    query, the last view the key and the only positive, and the random bank the only negatives.

    With `learn_from` W is MoCo-v2's queue for the first part of the run, and the loss is MoCo-v2's; from there on its
    rows are learned, as published. A row then is no negative of the owner of the key that it was (`exclude`).
    """

    sooner = "lower method.negatives, or set method.init=gaussian, which needs no filling"
    filled: Tensor  # () rows of the bank that hold keys
    sample: Tensor  # (K,) with learn_from: of whom each row is or was a key
    patient: Tensor  # (K,)
    pointer: Tensor  # () row of the oldest key

    def __init__(
        self,
        head: nn.Module,
        key_encoder: keys.EMAEncoder,
        bank_KD: Tensor,
        keyed: int,
        temperature: float,
        bank_temperature: float,
        in_batch_negatives: bool,
        prune: float | None,
        symmetric: bool,
        exclude: keys.Exclude,
        learn_from: int = 0,
    ) -> None:
        super().__init__()
        self.head, self.key_encoder = head, key_encoder
        self.learn_from = learn_from  # steps for which the bank is a queue
        self.bank = nn.Parameter(bank_KD)
        self.keyed = keyed  # rows to fill with keys before the bank is trained
        self.temperature, self.bank_temperature = temperature, bank_temperature
        self.in_batch_negatives, self.prune = in_batch_negatives, prune
        self.symmetric, self.exclude = symmetric, exclude
        # Always on a real device, also in networks without weights (the meta device), because `delays` reads it.
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64, device="cpu"))
        if learn_from:
            self.sooner = "or lower method.learn_from"
            keys.register_owners(self, len(bank_KD))
        self._fresh: list[keys.Keys] = []

    def project(self, features: Features) -> Tensor:
        """Pooled deepest features through the head, as unit vectors."""
        return keys.embed(self.head, features)

    def check_views(self, count: int) -> None:
        """Two views or more; symmetric: two. Raises InputError."""
        keys.pairs(count, self.symmetric)

    def adversaries(self) -> dict[str, list[nn.Parameter]]:
        """The bank."""
        return {"bank": [self.bank]}

    def delays(self, batch: int) -> dict[str, int]:
        """The bank is delayed by `learn_from`, or ceil(rows still to fill / batch) steps; if loaded full, by none."""
        if self.learn_from:
            return {"bank": self.learn_from}
        return {"bank": -(-max(0, self.keyed - int(self.filled)) // batch)} if self.keyed else {}

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """InfoNCE summed over the pairs of views, and minus InfoNCE for the bank if it is trained; see `keys.pairs`."""
        filling, playing = self._filling(), self.bank.requires_grad
        queued = self.learn_from > 0 and not playing
        count = len(views.x)
        pairs = [keys.Pair(0, count - 1, 1.0)] if filling else keys.pairs(count, self.symmetric)
        k = {v: self.key_encoder(views.x[v], views) for v in sorted({p.key for p in pairs})}
        # Keys are unit vectors already: normalised once more they would differ from MoCo-v2's in the last bit.
        w_KD = self.bank if queued else functional.normalize(losses.at_least_float32(self.bank), dim=1)
        main = adversarial = torch.zeros((), device=w_KD.device)
        alone = filling or queued or not self.in_batch_negatives  # no negatives but the bank
        mask = self._mask(views, None if alone else k[pairs[0].key])  # keys of all views have the same owners
        for pair in pairs:
            q = self.project(encode(pair.query))
            own = k[pair.key].own(len(q))
            candidates = w_KD if alone else torch.cat([k[pair.key].k.to(w_KD), w_KD])
            cosines = losses.cosines(q, own, candidates.detach(), mask)
            pruned = cosines if queued else self._pruned(cosines)
            main = main + pair.weight * losses.info_nce_from_cosines(pruned, self.temperature)
            if playing:
                played = losses.cosines(q.detach(), own, candidates, mask)
                adversarial = adversarial - pair.weight * losses.info_nce_from_cosines(played, self.bank_temperature)
        weight = sum(pair.weight for pair in pairs)
        self.diagnostics = base.contrastive_metrics(pruned, weight) | base.collapse_metrics(q)
        self.diagnostics |= {"max_cosine": base.largest(cosines[:, -len(w_KD) :]), **self._bank(-adversarial, playing)}
        if (filling or queued) and self.training:
            self._fresh.append(k[pairs[0].key])
        return Losses({"discrimination": main}, {"bank": adversarial} if playing else {})

    def begin(self, encoder: nn.Module) -> None:
        """theta_k <- theta_q."""
        self.key_encoder.copy_from(encoder, self.head)

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """Update the key encoder; store the step's keys in a bank still filling; once full, theta_k <- theta_q."""
        self.key_encoder.ema_update(encoder, self.head)
        if not self._fresh:
            return
        if self.learn_from:
            for found in self._fresh:
                keys.enqueue(self.bank, self.sample, self.patient, self.pointer, found)
            return self._fresh.clear()
        start = int(self.filled)
        fresh = torch.cat([found.k for found in self._fresh])[: self.keyed - start]
        self._fresh.clear()
        self.bank[start : start + len(fresh)] = fresh.to(self.bank)
        self.filled += len(fresh)
        if start + len(fresh) == self.keyed:
            self.key_encoder.copy_from(encoder, self.head)

    def _filling(self) -> bool:
        filling = self.keyed > 0 and int(self.filled) < self.keyed
        if filling and self.bank.requires_grad and self.training:
            raise RuntimeError(
                f"the bank is trained with {int(self.filled)} of {self.keyed} rows filled: delay it by `delays`"
            )
        return filling

    def _mask(self, views: Views, k: keys.Keys | None) -> Tensor | None:
        """Negatives (B,M) of the query's own sample or owner: in the batch's keys `k`, if any, then in the bank."""
        mask_BK = keys.same_owner(views, self.sample, self.patient, self.exclude) if self.learn_from else None
        if k is None:
            return mask_BK
        mask = keys.same_owner(views, k.sample, k.patient, self.exclude)
        row = torch.arange(len(mask), device=mask.device)
        mask[row, ranks.rank() * len(mask) + row] = True
        return functional.pad(mask, (0, len(self.bank))) if mask_BK is None else torch.cat([mask, mask_BK], 1)

    def _pruned(self, cosines_BM: Tensor) -> Tensor:
        """Mask learned negatives above the threshold: they have no owner, so only similarity shows a false negative."""
        if self.prune is None:
            return cosines_BM
        rest, learned = cosines_BM[:, : -len(self.bank)], cosines_BM[:, -len(self.bank) :]
        return torch.cat([rest, learned.masked_fill(learned > self.prune, -torch.inf)], 1)

    @torch.no_grad()
    def _bank(self, info_nce: Tensor, playing: bool) -> dict[str, Tensor]:
        """Mean norm of the bank's rows and, if the bank is trained, the InfoNCE that it raises, with its usual sign."""
        norm = {"bank_norm": self.bank.norm(dim=1).mean()}
        return norm | {"bank_info_nce": info_nce.detach()} if playing else norm


def build(
    *,
    encoder: nn.Module,
    samples: int | None = None,
    steps: int | None = None,
    negatives: int | Literal["auto"] = "auto",
    init: Literal["keys", "gaussian"] = "keys",
    fill: Literal["keys", "gaussian"] = "keys",
    temperature: float = 0.12,
    bank_temperature: float = 0.02,
    momentum: float = 0.999,
    hidden: int = 2048,
    dim: int = 128,
    head_norm: heads.HeadNorm = "none",
    in_batch_negatives: bool = True,
    prune: float | None = None,
    symmetric: bool = False,
    exclude: keys.Exclude = "patient",
    shuffle_bn: bool = True,
    learn_from: Time = 0,
    seed: int = 0,
) -> AdCo:
    """AdCo on `encoder`, with published defaults. Raises InputError."""
    keys.check_temperatures(temperature=temperature, bank_temperature=bank_temperature)
    keys.check_momentum(momentum)
    if prune is not None and not -1 < prune < 1:
        raise InputError(f"method.prune is {prune}: it is a cosine; give a number between -1 and 1 (0.8), or null")
    first = _first(learn_from, steps)
    size = keys.largest_memory(samples) if negatives == "auto" else negatives
    spare = init == "gaussian" or fill == "gaussian"
    keys.check_memory(size, None if spare else samples, "method.negatives", " or method.fill=gaussian")
    keyed = 0 if first or init == "gaussian" else min(size, samples or size)
    head = heads.contrastive(base.width(encoder), hidden, dim, head_norm)
    key_encoder = keys.EMAEncoder(encoder, head, momentum, shuffle_bn, seed)
    rows = keys.gaussian(size, dim, seed)
    bank = functional.normalize(rows, dim=1) if first else rows
    taus = (temperature, bank_temperature)
    return AdCo(head, key_encoder, bank, keyed, *taus, in_batch_negatives, prune, symmetric, exclude, first)


def _first(learn_from: Time, steps: int | None) -> int:
    """The step from which the bank is learned; a share below all of the run leaves it one step at least."""
    time = plain(learn_from)
    if steps is None and not isinstance(time, int):
        raise InputError(f"method.learn_from is {learn_from}: how many steps that is, is known with `steps` alone")
    first = steps_of(learn_from, steps or 0, "method.learn_from")
    return first if steps is None or isinstance(time, int) or time == 1.0 else min(first, steps - 1)


overfit = keys.overfit
