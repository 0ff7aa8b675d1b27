"""Two ranks with B samples each are one rank with 2B: losses, parameters, bank and queue, in float64, through DDP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from medssl import ranks
from medssl.branches import adversary, restore
from medssl.methods import adco, barlow_twins, moco_v2, simsiam
from medssl.models.decoder import unet
from medssl.models.discriminator import PatchDiscriminator
from medssl.models.encoder import tiny
from medssl.pretext import Pretext
from medssl.pretraining import rank_consistency
from medssl.types import Views

BATCH, STEPS = 4, 4
CASES: dict[str, tuple[Any, dict[str, Any], int, str]] = {  # build, settings, number of views, norm of the encoder
    "moco_v2": (moco_v2.build, {"queue": 6}, 2, "group"),
    "moco_v2 shuffled": (moco_v2.build, {"queue": 6}, 2, "group"),
    "adco": (adco.build, {"negatives": 7}, 2, "group"),
    "adco that begins as a queue": (adco.build, {"negatives": 6, "learn_from": 2}, 2, "group"),
    "adco symmetric": (adco.build, {"negatives": 6, "init": "gaussian", "symmetric": True, "prune": 0.9}, 2, "group"),
    "adco multi-crop": (adco.build, {"negatives": 6, "init": "gaussian"}, 4, "group"),
    "adco without in-batch keys": (
        adco.build,
        {"negatives": 6, "init": "gaussian", "in_batch_negatives": False},
        2,
        "group",
    ),
    "simsiam": (simsiam.build, {"batch": BATCH}, 2, "sync_batch"),
    "barlow_twins": (barlow_twins.build, {"batch": BATCH}, 2, "group"),
}


def build(case: str) -> Pretext:
    method, settings, _, norm = CASES[case]
    torch.manual_seed(0)
    net = tiny.build(spatial_dims=2, in_channels=1, channels=(4, 8), norm=norm)
    decoder = unet.build(spatial_dims=2, channels=net.channels, strides=net.strides, widths=[4, 4], norm="group")
    head = restore.build(spatial_dims=2, in_channels=4, out_channels=1, masked_only=True)
    judge = adversary.Adversary(PatchDiscriminator(2, 1, base_channels=4), "least_squares")
    branches = {"decoder": decoder, "restore": head, "adversary": judge}
    pretext = Pretext(net, method=method(encoder=net, hidden=6, dim=4, **settings), **branches).double()
    if case == "moco_v2 shuffled":  # nothing in this encoder needs it, so the exchange must leave no trace
        pretext.method.key_encoder.shuffle = True
    return pretext


def batch(case: str, step: int) -> Views:
    """This rank's contiguous block of the global batch; samples 0 and 2 are one patient."""
    generator = torch.Generator().manual_seed(step)
    x = [torch.rand(BATCH, 1, 12, 12, generator=generator, dtype=torch.float64) for _ in range(CASES[case][2])]
    mine = slice(ranks.rank() * BATCH // ranks.world(), (ranks.rank() + 1) * BATCH // ranks.world())
    ids, patient = BATCH * step + torch.arange(BATCH), torch.tensor([0, 1, 0, 2])
    return Views(tuple(v[mine] for v in x), x[0][mine] ** 2, (x[1] > 0.5)[mine], ids[mine], patient[mine])


def train(case: str) -> dict[str, Any]:
    pretext = build(case)
    starts = pretext.method.delays(BATCH)
    trace = []
    for step in range(STEPS):
        if step == 0 or step in starts.values():
            pretext.activate({name for name in pretext.names() if starts.get(name, 0) <= step})
            parameters = [p for ps in pretext.players().values() for p in ps]
            optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)
            module = DistributedDataParallel(pretext, broadcast_buffers=False) if ranks.world() > 1 else pretext
        found = module(batch(case, step))
        torch.stack([*found.main.values(), *found.adversaries.values()]).sum().backward()
        means = {k: ranks.gather(v[None]).mean() for k, v in (found.main | found.adversaries).items()}
        trace.append((means, {n: p.grad.clone() for n, p in pretext.named_parameters() if p.grad is not None}))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        pretext.after_step()
    return {"trace": trace, "state": pretext.state_dict()}


def primitives() -> dict[str, Any]:
    x = torch.arange(2, dtype=torch.float64).add(10 * ranks.rank()).requires_grad_()
    everything = ranks.gather_grad(x)
    (everything * (ranks.rank() + 1) * torch.arange(len(everything))).sum().backward()
    parted = {"same": torch.ones(3), "bank": torch.tensor([1.0, ranks.rank()]), "filled": torch.tensor(ranks.rank())}
    found = rank_consistency.differing(parted), rank_consistency.differing({"same": torch.ones(())})
    return {
        "differing": found,
        "gather": ranks.gather(x),
        "same": everything.detach(),
        "grad": x.grad,
        "broadcast": ranks.broadcast(x),
    }


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found: dict[str, Any] = {case: train(case) for case in CASES}
    torch.save(found | {"primitives": primitives()}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both of two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def close(found: Any, expected: Any) -> None:
    assert_close(found, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_are_one(case: str, two: list[dict[str, Any]]) -> None:
    expected = train(case)
    for found in two:
        for step in range(STEPS):
            close(found[case]["trace"][step], expected["trace"][step])
        state = {name: value for name, value in found[case]["state"].items() if not name.endswith("rounds")}
        close(state, {name: expected["state"][name] for name in state})
    if CASES[case][1].get("negatives") == 7:
        assert "bank" not in expected["trace"][1][0]
        assert "bank" in expected["trace"][2][0]


@pytest.mark.parametrize("case", CASES)
def test_both_ranks_hold_the_same_bits(case: str, two: list[dict[str, Any]]) -> None:
    first, second = (rank[case]["state"] for rank in two)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_gather_is_in_rank_order_and_broadcast_is_rank_0(two: list[dict[str, Any]]) -> None:
    for rank in two:
        assert rank["primitives"]["gather"].tolist() == rank["primitives"]["same"].tolist() == [0, 1, 10, 11]
        assert rank["primitives"]["broadcast"].tolist() == [0, 1]


def test_what_differs_between_ranks_is_named(two: list[dict[str, Any]]) -> None:
    for rank in two:
        assert rank["primitives"]["differing"] == (["bank", "filled"], [])


def test_gradients_through_gather_are_summed_over_ranks(two: list[dict[str, Any]]) -> None:
    assert [rank["primitives"]["grad"].tolist() for rank in two] == [[0, 3], [6, 9]]


def test_alone_everything_is_the_identity() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert (ranks.world(), ranks.rank()) == (1, 0)
    assert ranks.gather_grad(x) is x
    for f in (ranks.gather, ranks.broadcast):
        assert torch.equal(f(x), x)
        assert not f(x).requires_grad


ENDING = """
import atexit, sys, torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from medssl.runtime import launch
atexit.register(lambda: print("together" if dist.is_initialized() else "apart"))  # runs last
launch.start(Fabric(accelerator="cpu", devices=1, strategy=DDPStrategy()))
assert dist.is_initialized()
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 2])
def test_a_rank_parts_from_the_others_before_python_ends(code: int) -> None:
    """One that does not may be ended by SIGABRT, when a thread of gloo lets go of its tensors too late."""
    ended = subprocess.run([sys.executable, "-c", ENDING, str(code)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.split()[-1:]) == (code, ["apart"]), ended.stderr
