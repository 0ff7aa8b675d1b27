"""Some of the files that `benchmarks/fuzz.py` breaks, and its tree of what is no file, through scan and prepare."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from medssl import InputError, convert, prepare, scan

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import fuzz


@pytest.mark.filterwarnings("ignore")
def test_broken_files_in_one_tree_cost_themselves_alone(tmp_path):
    root = tmp_path / "tree"
    fuzz.plant(root, 220, 80, seed=1)
    found = scan(root, tmp_path / "m.csv")
    assert fuzz.unaccounted(root, tmp_path / "m.csv") == []
    whole = [row for row in found.rows if row.source.startswith("whole/")]
    assert len(whole) == len(list((root / "whole").iterdir()))
    assert convert(tmp_path / "m.csv", tmp_path / "nifti")
    for modality, preset in fuzz.PRESETS.items():
        with contextlib.suppress(InputError):
            prepare(tmp_path / "m.csv", tmp_path / modality, preset=preset, modality=modality)


@pytest.mark.slow
def test_the_commands_end_with_0_or_2_within_time_and_memory(tmp_path):
    wrong, figures = fuzz.everything(tmp_path, 300, 100, 2, 30)
    assert wrong == [], figures
