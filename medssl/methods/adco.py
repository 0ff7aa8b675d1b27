"""AdCo (Hu et al. 2021): the negatives are parameters, trained against the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl import losses, ranks
from medssl.methods import base, keys
from medssl.models import heads
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
    """

    sooner = "lower method.negatives, or set method.init=gaussian, which needs no filling"
    filled: Tensor  # () rows of the bank that hold keys

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
    ) -> None:
        super().__init__()
        self.head, self.key_encoder = head, key_encoder
        self.bank = nn.Parameter(bank_KD)
        self.keyed = keyed  # rows to fill with keys before the bank is trained
        self.temperature, self.bank_temperature = temperature, bank_temperature
        self.in_batch_negatives, self.prune = in_batch_negatives, prune
        self.symmetric, self.exclude = symmetric, exclude
        # Always on a real device, also in networks without weights (the meta device), because `delays` reads it.
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64, device="cpu"))
        self._fresh: list[Tensor] = []

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
        """The bank is delayed by ceil(rows still to fill / batch) steps; if it was loaded full, by none."""
        return {"bank": -(-max(0, self.keyed - int(self.filled)) // batch)} if self.keyed else {}

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """InfoNCE summed over the pairs of views, and minus InfoNCE for the bank if it is trained; see `keys.pairs`."""
        filling, playing = self._filling(), self.bank.requires_grad
        count = len(views.x)
        pairs = [keys.Pair(0, count - 1, 1.0)] if filling else keys.pairs(count, self.symmetric)
        k = {v: self.key_encoder(views.x[v], views) for v in sorted({p.key for p in pairs})}
        w_KD = functional.normalize(losses.at_least_float32(self.bank), dim=1)
        main = adversarial = torch.zeros((), device=w_KD.device)
        for pair in pairs:
            q = self.project(encode(pair.query))
            own = k[pair.key].own(len(q))
            candidates, mask = self._candidates(views, k[pair.key], w_KD, filling)
            cosines = losses.cosines(q, own, candidates.detach(), mask)
            pruned = self._pruned(cosines)
            main = main + pair.weight * losses.info_nce_from_cosines(pruned, self.temperature)
            if playing:
                played = losses.cosines(q.detach(), own, candidates, mask)
                adversarial = adversarial - pair.weight * losses.info_nce_from_cosines(played, self.bank_temperature)
        self.diagnostics = base.contrastive_metrics(pruned, sum(pair.weight for pair in pairs)) | base.collapse_metrics(
            q
        )
        self.diagnostics |= {"max_cosine": base.largest(cosines[:, -len(w_KD) :]), **self._bank(-adversarial, playing)}
        if filling and self.training:
            self._fresh.append(k[pairs[0].key].k)
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
        start = int(self.filled)
        fresh = torch.cat(self._fresh)[: self.keyed - start]
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

    def _candidates(self, views: Views, k: keys.Keys, w_KD: Tensor, filling: bool) -> tuple[Tensor, Tensor | None]:
        """Negatives (M,D), learned ones last, and a mask (B,M) of keys of the query's own sample or owner."""
        if filling or not self.in_batch_negatives:
            return w_KD, None
        mask = keys.same_owner(views, k.sample, k.patient, self.exclude)
        row = torch.arange(len(mask), device=mask.device)
        mask[row, ranks.rank() * len(mask) + row] = True
        return torch.cat([k.k.to(w_KD), w_KD]), functional.pad(mask, (0, len(w_KD)))

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
    seed: int = 0,
) -> AdCo:
    """AdCo on `encoder`, with published defaults. Raises InputError.

    Args:
        negatives: rows of the bank; auto is the largest power of two that is not above `samples` or 65536.
        init: what the bank starts from. keys: unit vectors, stored as the first steps produce them. gaussian: `dim`
            normal entries per row, drawn from `seed`, the same on every rank; such a row has a norm of about sqrt(dim),
            as in the release, and turns more slowly.
        fill: what the rows in excess of the number of samples start from, for which the data has no keys; keys refuses
            such a bank.
        prune: cosine above which a learned negative is left out of the encoder's denominator (Hosseinzadeh Taher et
            al. 2023: 0.8).
    """
    keys.check_temperatures(temperature=temperature, bank_temperature=bank_temperature)
    keys.check_momentum(momentum)
    if prune is not None and not -1 < prune < 1:
        raise InputError(f"method.prune is {prune}: it is a cosine; give a number between -1 and 1 (0.8), or null")
    size = keys.largest_memory(samples) if negatives == "auto" else negatives
    spare = init == "gaussian" or fill == "gaussian"
    keys.check_memory(size, None if spare else samples, "method.negatives", " or method.fill=gaussian")
    keyed = 0 if init == "gaussian" else min(size, samples or size)
    head = heads.contrastive(base.width(encoder), hidden, dim, head_norm)
    key_encoder = keys.EMAEncoder(encoder, head, momentum, shuffle_bn, seed)
    bank = keys.gaussian(size, dim, seed)
    taus = (temperature, bank_temperature)
    return AdCo(head, key_encoder, bank, keyed, *taus, in_batch_negatives, prune, symmetric, exclude)


overfit = keys.overfit
