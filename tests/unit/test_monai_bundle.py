"""The MONAI bundle: run by MONAI where medssl cannot be imported, it writes the masks that `medssl predict` writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import made_runs
import nibabel
import numpy as np
import pytest
import torch
from finetuning import SEGMENT, options, recipe

from medssl import export_weights, load_model, predict
from medssl.data.phantom.cases import phantom_cache
from medssl.data.phantom.volumes import ct_case
from medssl.finetuning.loop import tune
from medssl.models import windows
from medssl.testing import check_exporter
from medssl.types import InputError

RUN = """
import runpy, sys
sys.modules["medssl"] = None  # its import now fails
sys.argv = ["monai.bundle", "run", "--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json",
            "--dataset_dir", "../images", "--output_dir", "../monai"]
sys.path.insert(0, "")
runpy.run_module("monai.bundle", run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bundle")
    phantom_cache(made / "cache", 4, (24, 24, 24), 0, "ct")
    task = {"mirror": True, "keep": "largest"}  # what inference may do beyond the network
    settings = recipe(SEGMENT, data={"cache": str(made / "cache")}, train={"steps": 12}, task=task)
    tune(settings, options(made / "run"))
    export_weights(made / "run", made / "bundle", to="monai_bundle", name="lesions", license="cc-by-4.0")
    (made / "images").mkdir()
    for number, turn in enumerate((np.diag([-1.3, 2.0, 1.7]), np.array([[0, 1.5, 0], [1.1, 0, 0], [0, 0, 2.0]]))):
        image, _ = ct_case(np.random.default_rng(number), (40, 44, 36))
        save(made / "images" / f"c{number}.nii.gz", image, turn)
    return made


def save(path, image, turn):
    """An oblique volume: 17 degrees about one axis, 9 about another."""
    a, b = np.deg2rad([17, 9])
    about = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about = about @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = about @ turn, [5, -20, 30]
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(image.transpose(2, 1, 0)), affine), path)


def test_monai_writes_the_masks_that_predict_writes(folder):
    predict(folder / "run", folder / "images", folder / "masks", device="cpu")
    subprocess.run([sys.executable, "-c", RUN], check=True, cwd=folder / "bundle", capture_output=True)
    for name in ("c0.nii.gz", "c1.nii.gz"):
        ours, theirs = nibabel.load(folder / "masks" / name), nibabel.load(folder / "monai" / name)
        mine, other = np.asarray(ours.dataobj), np.asarray(theirs.dataobj)
        assert 0 < mine.mean() < 1
        assert (mine != other).mean() <= 1e-5, f"{(mine != other).sum()} of {mine.size} voxels differ"
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        assert theirs.get_data_dtype() == np.uint8


def test_it_holds_to_the_laws_of_formats(folder):
    check_exporter("monai_bundle", folder / "run")


def test_the_scripts_need_no_medssl_and_name_no_place(folder):
    scripts = list((folder / "bundle" / "scripts").rglob("*.py"))
    lines = [line for path in scripts for line in path.read_text().splitlines()]
    assert not [line for line in lines if re.match(r"\s*(from|import) medssl", line)]
    assert "grid.py" in {path.name for path in scripts}
    for path in (folder / "bundle").rglob("*"):
        if path.is_file():
            assert str(folder).encode() not in path.read_bytes(), path


def test_the_network_takes_any_size_and_carries_its_metadata(folder):
    model = load_model(folder / "run")
    model = windows.mirrored(model.network, model._task.settings.mirrors)
    extra = {"metadata.json": ""}
    script = torch.jit.load(folder / "bundle" / "models" / "model.ts", _extra_files=extra)
    about = json.loads(extra["metadata.json"])
    assert about["name"] == "lesions"
    assert about["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "lesion"}
    x = torch.rand(3, 1, 32, 16, 20)
    torch.testing.assert_close(script(x), model(x))
    assert "cc-by-4.0" in (folder / "bundle" / "LICENSE").read_text()


def test_a_pretraining_is_refused_with_what_helps(tmp_path):
    run = made_runs.pretraining(tmp_path / "run", {"kind": "tiny"})
    with pytest.raises(InputError, match=r"fine-tuned 3D segmentation.*huggingface or torch_export"):
        export_weights(run, tmp_path / "out", to="monai_bundle")
    assert not (tmp_path / "out").exists()
