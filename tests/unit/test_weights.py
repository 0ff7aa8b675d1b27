from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medssl.models import weights
from medssl.models.encoder import resnet, tiny
from medssl.types import InputError


def network(seed: int, width: int = 3) -> nn.ModuleDict:
    torch.manual_seed(seed)
    return nn.ModuleDict(
        {
            "encoder": nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)),
            "decoder": nn.Conv2d(width, 2, 3),
            "head": nn.Conv2d(2, 1, 1),
        }
    )


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_loads_the_named_parts_and_nothing_else() -> None:
    old, new = network(0), network(1)
    before, source = snapshot(new), snapshot(old) | {"method.bank": torch.rand(4)}
    report = weights.load(new, source, ["encoder", "decoder"])
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, (before if name.startswith("head") else source)[name])
    assert report.loaded == [n for n in source if n.startswith(("encoder", "decoder"))]
    assert report.left_out == ["head.weight", "head.bias", "method.bank"]
    assert (len(report.loaded), len(report.left_out)) == (9, 3)


def test_all_loads_everything() -> None:
    old, new = network(0), network(1)
    report = weights.load(new, old.state_dict(), ["all"])
    assert unchanged(new, snapshot(old))
    assert report.left_out == []


def test_a_part_is_a_whole_word() -> None:
    new = nn.ModuleDict({"encoder": nn.Linear(2, 2), "encoder_key": nn.Linear(2, 2)})
    report = weights.load(new, snapshot(new), ["encoder"])
    assert report.loaded == ["encoder.weight", "encoder.bias"]


def test_a_missing_tensor_is_named_and_nothing_changes() -> None:
    new = network(1)
    source, before = snapshot(network(0)), snapshot(new)
    del source["decoder.bias"]
    with pytest.raises(InputError, match=r"run_a has no tensor decoder\.bias \(shape \[2\]\)"):
        weights.load(new, source, ["encoder", "decoder"], source="run_a")
    assert unchanged(new, before)


def test_another_shape_is_named_with_both_and_nothing_changes() -> None:
    new = network(1, width=5)
    before = snapshot(new)
    with pytest.raises(InputError, match=r"encoder\.0\.weight is \[3, 1, 3, 3\] in checkpoint but \[5, 1, 3, 3\]"):
        weights.load(new, network(0).state_dict(), ["encoder"])
    assert unchanged(new, before)


def test_a_part_the_network_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="adversary was asked for from checkpoint, but the network has no such part"):
        weights.load(network(0), network(1).state_dict(), ["adversary"])


def test_public_weights_without_part_names_are_the_encoders() -> None:
    public = resnet.build(spatial_dims=2, in_channels=3, depth=18)
    new = nn.ModuleDict({"encoder": resnet.build(spatial_dims=2, in_channels=3, depth=18)})
    source = {n: t for n, t in public.state_dict().items() if not n.endswith("num_batches_tracked")}
    source["fc.weight"] = torch.rand(10, 512)
    report = weights.load(new, source, ["encoder"])
    assert torch.equal(new["encoder"].layer4[1].conv2.weight, public.layer4[1].conv2.weight)
    assert report.left_out == ["encoder.fc.weight"]


@pytest.mark.parametrize("build", [tiny.build, lambda **k: resnet.build(depth=18, **k)], ids=["tiny", "resnet"])
def test_channels_are_adapted_only_if_asked_and_copies_of_a_gray_image_agree(build: type) -> None:
    gray, colour = (nn.ModuleDict({"encoder": build(spatial_dims=2, in_channels=c)}).eval() for c in (1, 3))
    x = torch.rand(1, 1, 32, 32)
    with pytest.raises(InputError, match="in checkpoint but"):
        weights.load(colour, gray.state_dict(), ["encoder"])
    weights.load(colour, gray.state_dict(), ["encoder"], adapt_channels=(1, 3))
    torch.testing.assert_close(colour["encoder"](x.repeat(1, 3, 1, 1)), gray["encoder"](x))
    before = gray["encoder"](x)[-1]
    weights.load(gray, colour.state_dict(), ["encoder"], adapt_channels=(3, 1))
    torch.testing.assert_close(gray["encoder"](x)[-1], before)


def test_reads_checkpoints_safetensors_and_state_dicts(tmp_path: Path) -> None:
    tensors = {"encoder.a": torch.rand(3), "encoder.b": torch.rand(2, 2)}
    torch.save({"format": 1, "verb": "pretrain", "weights": tensors, "state": {"step": 3}}, tmp_path / "run.pt")
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "ddp.pt")
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "public.pt")
    save_file(tensors, tmp_path / "w.safetensors")
    for name in ("run.pt", "ddp.pt", "public.pt", "w.safetensors"):
        read = weights.read(tmp_path / name)
        assert sorted(read) == sorted(tensors)
        assert all(torch.equal(read[n], tensors[n]) for n in tensors)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code in the file ran",)


def test_refuses_code_damage_and_what_is_no_state_dict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": {"a": Evil()}}, tmp_path / "evil.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("evil.pt", "cut.pt", "cut.safetensors", "empty.pt"):
        with pytest.raises(InputError, match="damaged or hold more than tensors"):
            weights.read(tmp_path / name)
    assert capsys.readouterr().out == ""
    torch.save([torch.rand(2)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="list instead of a state dict"):
        weights.read(tmp_path / "list.pt")
    with pytest.raises(InputError, match="No such file"):
        weights.read(tmp_path / "none.pt")
