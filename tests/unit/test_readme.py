"""The README's Python is run as it stands."""

from __future__ import annotations

import doctest
from pathlib import Path

import torch

README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_runs_as_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert (failed, tried) == (0, 13)
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.nii.gz"))[0] == "case_000.nii.gz"
    assert (tmp_path / "runs" / "segment" / "report.html").is_file()


def test_the_first_example_is_ten_lines():
    block = README.read_text().split("```pycon\n")[1].split("```")[0]
    assert sum(line.startswith(">>> ") for line in block.splitlines()) == 10
