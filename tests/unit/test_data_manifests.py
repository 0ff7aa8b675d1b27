"""The commands of each page in data_manifests run on a miniature of its layout."""

import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import yaml
from dicom_writer import CR, write
from PIL import Image

from medssl.cli import main
from medssl.data.cache import Cache

FOLDER = Path(__file__).parents[2] / "data_manifests"
PAGES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
MINIATURES = sorted(name for name, page in PAGES.items() if "layout" in page)
SHAPE = (14, 16, 18)


def make(path, text, rng):
    """One file of a miniature: a table with its text, else an image or a mask by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = rng.integers(0, 255, (64, 64)).astype(np.uint8)
    volume = rng.integers(-1000, 900, SHAPE).astype(np.int16)
    if text:
        path.write_text(text)
    elif "seg" in path.name or "labels" in path.parent.name:
        mask = np.zeros(SHAPE, np.uint8)
        mask[4:8, 4:8, 4:8] = 1
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), path)
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    elif path.suffix == ".mhd":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(path))
    elif path.suffix in (".dcm", ".dicom"):
        number = str(int.from_bytes(path.stem.encode()))
        write(path, flat, SOPClassUID=CR, Modality="CR", SeriesInstanceUID=f"1.{number}", PatientID=path.stem)
    elif path.parent.parent.name == "tiles":
        Image.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path)
    else:
        Image.fromarray(flat).save(path)


def code():
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_says_where_the_data_come_from(name):
    assert {"name", "images", "licence", "source", "commands"} <= set(PAGES[name])


@pytest.mark.parametrize("name", MINIATURES)
def test_the_commands_of_a_page_run_on_its_layout(name, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for file, text in PAGES[name]["layout"].items():
        make(tmp_path / file, text, rng)
    monkeypatch.chdir(tmp_path)
    for command in PAGES[name]["commands"]:
        monkeypatch.setattr("sys.argv", shlex.split(command))
        assert code() == 0, capsys.readouterr()
    (cache,) = tmp_path.glob("*.cache")
    cases = Cache(cache).cases.values()
    assert len(cases) > 1
    masks = any("seg" in Path(file).name or "labelsTr" in file for file in PAGES[name]["layout"])
    assert all(case.has_label for case in cases) == masks
