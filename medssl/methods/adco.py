"""AdCo (Hu et al. 2021): the negatives are parameters that play against the encoder."""

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
    """InfoNCE at tau against K learned negatives; the bank lowers minus InfoNCE at its own tau_m, by plain SGD.

    The bank W (K,D) is stored unnormalised and normalised on read. Its rival loss reaches W alone; the main loss sees W
    frozen. Until W is filled with keys the method runs as in the release's first pass, whatever its form: view 0 alone
    is the query, the last view the key and the only positive, and the random bank the only negatives.
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
        self.keyed = keyed  # rows to fill with keys before the bank plays
        self.temperature, self.bank_temperature = temperature, bank_temperature
        self.in_batch_negatives, self.prune = in_batch_negatives, prune
        self.symmetric, self.exclude = symmetric, exclude
        # Made where numbers are kept also in networks without any (the meta device): `starts` reads it.
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
        """The bank waits ceil(rows yet to fill / batch) steps; loaded full, it plays at once."""
        return {"bank": -(-max(0, self.keyed - int(self.filled)) // batch)} if self.keyed else {}

    def forward(self, views: Views, encode: Callable[[int], Features]) -> Losses:
        """InfoNCE summed over the pairs of views, and minus InfoNCE for the bank if it plays; see `keys.pairs`."""
        filling, playing = self._filling(), self.bank.requires_grad
        count = len(views.x)
        pairs = [keys.Pair(0, count - 1, 1.0)] if filling else keys.pairs(count, self.symmetric)
        k = {v: self.key_encoder(views.x[v], views) for v in sorted({p.key for p in pairs})}
        w_KD = functional.normalize(losses.at_least_float32(self.bank), dim=1)
        main = rival = torch.zeros((), device=w_KD.device)
        for pair in pairs:
            q = self.project(encode(pair.query))
            own = k[pair.key].own(len(q))
            candidates, mask = self._candidates(views, k[pair.key], w_KD, filling)
            cosines = losses.cosines(q, own, candidates.detach(), mask)
            pruned = self._pruned(cosines)
            main = main + pair.weight * losses.info_nce_from_cosines(pruned, self.temperature)
            if playing:
                played = losses.cosines(q.detach(), own, candidates, mask)
                rival = rival - pair.weight * losses.info_nce_from_cosines(played, self.bank_temperature)
        self.diagnostics = base.contrastive_metrics(pruned, sum(pair.weight for pair in pairs)) | base.collapse_metrics(
            q
        )
        self.diagnostics |= {"max_cosine": base.largest(cosines[:, -len(w_KD) :]), **self._bank(-rival, playing)}
        if filling and self.training:
            self._fresh.append(k[pairs[0].key].k)
        return Losses({"discrimination": main}, {"bank": rival} if playing else {})

    def begin(self, encoder: nn.Module) -> None:
        """theta_k <- theta_q."""
        self.key_encoder.copy_from(encoder, self.head)

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """Move the key encoder; while the bank fills, put the step's keys into it; once full, theta_k <- theta_q."""
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
            raise RuntimeError(f"the bank plays with {int(self.filled)} of {self.keyed} rows filled: wait for `starts`")
        return filling

    def _candidates(self, views: Views, k: keys.Keys, w_KD: Tensor, filling: bool) -> tuple[Tensor, Tensor | None]:
        """Negatives (M,D), learned ones last, and the mask (B,M) of keys that are none: the own, the same owner's."""
        if filling or not self.in_batch_negatives:
            return w_KD, None
        mask = keys.same_owner(views, k.sample, k.patient, self.exclude)
        row = torch.arange(len(mask), device=mask.device)
        mask[row, ranks.rank() * len(mask) + row] = True
        return torch.cat([k.k.to(w_KD), w_KD]), functional.pad(mask, (0, len(w_KD)))

    def _pruned(self, cosines_BM: Tensor) -> Tensor:
        """Mask learned negatives above the threshold: they have no owner, only likeness tells a false negative."""
        if self.prune is None:
            return cosines_BM
        rest, learned = cosines_BM[:, : -len(self.bank)], cosines_BM[:, -len(self.bank) :]
        return torch.cat([rest, learned.masked_fill(learned > self.prune, -torch.inf)], 1)

    @torch.no_grad()
    def _bank(self, info_nce: Tensor, playing: bool) -> dict[str, Tensor]:
        """Mean norm of its rows; the InfoNCE that it raises, if it plays, in its natural sign."""
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
    """AdCo on `encoder`, published defaults; negatives: auto is the largest power of two not above samples or 65536.

    init: the bank starts as keys, unit vectors, or as `dim` normal entries a row from `seed`, the same on every rank;
    such a row is about sqrt(dim) long, as in the release, and turns more slowly. fill: what rows beyond the number of
    samples hold, for which the data has no keys; keys refuses such a bank (InputError). prune: cosine above which a
    learned negative leaves the encoder's denominator (Hosseinzadeh Taher et al. 2023: 0.8).
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
