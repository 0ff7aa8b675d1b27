from __future__ import annotations

import pickle

import pytest
import torch

from medssl.engine import checkpoint
from medssl.types import InputError


def content(step):
    return {
        "format": 1,
        "weights": {"encoder.w": torch.full((3,), float(step))},
        "state": {"step": step, "boxes": [1.5]},
    }


def test_what_is_saved_comes_back(tmp_path):
    checkpoint.save(tmp_path / "run" / "last.pt", content(4))
    back = checkpoint.load(tmp_path / "run" / "last.pt")
    assert back["state"] == {"step": 4, "boxes": [1.5]}
    assert torch.equal(back["weights"]["encoder.w"], torch.full((3,), 4.0))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.pt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "last.pt", content(1))

    def breaks(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", breaks)
    with pytest.raises(InputError, match="No space left"):
        checkpoint.save(tmp_path / "last.pt", content(2))
    assert checkpoint.load(tmp_path / "last.pt")["state"]["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_copy_does_not_follow_when_it_is_replaced(tmp_path):
    checkpoint.save(tmp_path / "step_1.pt", content(1))
    checkpoint.copy(tmp_path / "step_1.pt", tmp_path / "last.pt")
    checkpoint.save(tmp_path / "step_2.pt", content(2))
    checkpoint.copy(tmp_path / "step_2.pt", tmp_path / "last.pt")
    steps = [checkpoint.load(tmp_path / f"{name}.pt")["state"]["step"] for name in ("step_1", "step_2", "last")]
    assert steps == [1, 2, 2]


class Code:
    def __reduce__(self):
        return print, ("code of the file was run",)


@pytest.mark.parametrize("broken", ["truncated", "text", "code", "foreign", "newer"])
def test_what_is_no_checkpoint_is_refused_in_one_sentence(tmp_path, broken, capsys):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {**content(1), "format": 99 if broken == "newer" else 1})
    if broken == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    if broken == "text":
        path.write_text("hello")
    if broken == "code":
        path.write_bytes(pickle.dumps(Code()))
    if broken == "foreign":
        torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match=str(path)):
        checkpoint.load(path)
    assert capsys.readouterr().out == ""


def test_find_takes_the_best_of_a_fine_tuning_and_the_last_of_a_pretraining(tmp_path):
    checkpoint.save(tmp_path / "checkpoints" / "last.pt", content(1))
    assert checkpoint.find(tmp_path).name == "last.pt"
    checkpoint.save(tmp_path / "checkpoints" / "best.pt", content(1))
    assert checkpoint.find(tmp_path).name == "best.pt"
    assert checkpoint.find(tmp_path / "checkpoints" / "best.pt").name == "best.pt"


def test_find_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        checkpoint.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no checkpoint"):
        checkpoint.find(tmp_path)
