"""Bad input: one sentence on what is wrong and what to do, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from conftest import FINETUNE, PRETRAIN

from medssl.data.phantom.cases import phantom_cache


def refused(said, *words: str) -> None:
    """Exit code 2 and one line on stderr with all `words`."""
    assert said.code == 2, said
    assert said.err.startswith("medssl: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.out + said.err
    assert "is a fault of medssl" not in said.err
    for word in words:
        assert word in said.err


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def strange(tmp_path_factory, chain):
    """Folders and files that hold what they should not."""
    root = tmp_path_factory.mktemp("strange")
    images = chain.scans / "images"
    for name in ("empty", "junk", "text", "cut_dicom", "cut_nifti", "shape", "labels", "full"):
        (root / name).mkdir()
    (root / "junk" / "notes.txt").write_text("no image")
    (root / "junk" / "blob").write_bytes(bytes(range(256)) * 4)
    (root / "text" / "a.nii.gz").write_text("a text with the name of an image")
    for slice_ in sorted((images / "case_001").iterdir())[:3]:
        (root / "cut_dicom" / slice_.name).write_bytes(slice_.read_bytes()[:1500])
    (root / "cut_nifti" / "a.nii.gz").write_bytes((images / "case_000.nii.gz").read_bytes()[:4000])
    shutil.copy(images / "case_000.nii.gz", root / "shape" / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.uint8), np.eye(4)), root / "labels" / "a.nii.gz")
    (root / "full" / "keep").write_text("do not lose me")
    (root / "file").write_text("a file where a folder should be")
    (root / "noise.pt").write_bytes(bytes(range(256)) * 20)
    (root / "empty.yaml").write_text("")
    (root / "list.yaml").write_text("- 1\n- 2\n")
    (root / "binary.yaml").write_bytes(bytes(range(255, 0, -1)))
    (root / "broken.yaml").write_text("train: [1,\nb: }")
    (root / "other.csv").write_text("a,b\n1,2\n")
    (root / "binary.csv").write_bytes(bytes(range(255, 0, -1)))
    (root / "broken.json").write_text("{")
    (root / "names.json").write_text(json.dumps({"a": ["nobody"]}))
    phantom_cache(root / "flat", 3, (32, 32), 0, "xray")
    return root


FOLDERS = {
    "nowhere": ("no folder", "nowhere"),
    "empty": ("contains no files",),
    "junk": ("no image found", "2 x not an image"),
    "text": ("no image found", "not a NIfTI"),
    "cut_dicom": ("no image found", "3 x pixels cannot be decoded"),
    "cut_nifti": ("no image found", "cannot be read"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_without_images_is_said(name, strange, medssl, tmp_path):
    refused(medssl("scan", strange / name, "--out", tmp_path / "m.csv"), *FOLDERS[name])
    assert list(tmp_path.iterdir()) == [], "what cannot be scanned leaves no manifest"


DATA = {  # verb and words; {s} is the folder of strange things, {c} the chain's
    "label of another shape": ("scan {s}/shape --labels {s}/labels --out {t}/m.csv", "label shape", "differs"),
    "labels nowhere": ("scan {s}/shape --labels {s}/nowhere --out {t}/m.csv", "no folder"),
    "manifest below a file": ("scan {c}/scans/images --out {s}/file/m.csv", "--out"),
    "manifest in no folder": ("scan {c}/scans/images --out /dev/null/m.csv", "--out"),
    "shares above one": ("scan {c}/scans/images --out {t}/m.csv --split 0.5,0.9", "sum to 1"),
    "a pair without =": ("scan {c}/scans/images --out {t}/m.csv --pair abc", "--pair"),
    "no table": ("scan {c}/scans/images --out {t}/m.csv --table {t}/no.csv", "no table"),
    "a binary table": ("scan {c}/scans/images --out {t}/m.csv --table {s}/noise.pt", "noise.pt"),
    "no manifest": ("prepare {t}/no.csv --out {t}/x --preset ct", "no manifest"),
    "a folder as manifest": ("prepare {s}/empty --out {t}/x --preset ct", "no manifest"),
    "another csv": ("prepare {s}/other.csv --out {t}/x --preset ct", "columns"),
    "a binary csv": ("prepare {s}/binary.csv --out {t}/x --preset ct", "columns"),
    "a cache below a file": ("prepare {c}/manifest.csv --out {s}/file/x --preset ct", "cannot be written"),
    "a cache on a file": ("prepare {c}/manifest.csv --out {s}/file --preset ct", "cannot be written"),
    "a cache in a full folder": ("prepare {c}/manifest.csv --out {s}/full --preset ct", "not empty"),
    "words as spacing": ("prepare {c}/manifest.csv --out {t}/x --preset ct --spacing a,b", "--spacing"),
    "two spacings for three axes": ("prepare {c}/manifest.csv --out {t}/x --preset ct --spacing 1,1", "3 positive"),
    "a spacing that is no number": ("prepare {c}/manifest.csv --out {t}/x --preset ct --spacing 1,1,nan", "3 positive"),
    "volumes as slides": ("prepare {c}/manifest.csv --out {t}/x --preset pathology", "preset"),
    "channels that are not there": ("prepare {c}/manifest.csv --out {t}/x --preset ct --channels A,B", "A, B"),
    "converted below a file": ("convert {c}/manifest.csv --out {s}/file/x", "cannot be written"),
    "a preview below a file": ("preview {p} --out {s}/file/v.png", "cannot be written"),
    "a preview that is no picture": ("preview {p} --out {t}/v.xyz", ".png"),
    "a report on no run": ("report {s}/full", "not a run directory"),
    "a report below a file": ("report {c}/runs/segmented --out {s}/file/r.html", "cannot be written"),
    "an export of no run": ("export {s}/full --out {t}/x", "no checkpoint"),
    "an unknown format": ("export {c}/runs/pretrained --to onnx --out {t}/x", "onnx"),
    "an export below a file": ("export {c}/runs/pretrained --out {s}/file/x", "cannot be written"),
    "predict by a pretraining": ("predict {c}/runs/pretrained {i} --out {t}/x", "fine-tuned"),
    "predict by no run": ("predict {s}/nowhere {i} --out {t}/x", "does not exist"),
    "predict nothing": ("predict {c}/runs/segmented {s}/nowhere --out {t}/x", "does not exist"),
    "predict a text": ("predict {c}/runs/segmented {s}/text --out {t}/x", "not a NIfTI"),
    "predict below a file": ("predict {c}/runs/segmented {i} --out {s}/file/x", "cannot be written"),
    "predict over the image": ("predict {c}/runs/segmented {i} --out {c}/scans/images", "replace the image"),
    "a demo in a full folder": ("demo --out {s}/full", "not empty"),
    "a demo on a file": ("demo --out {s}/file", "file"),
    "no such verb": ("frobnicate", "No such command"),
    "a verb without words": ("prepare", "Missing argument"),
    "an unknown preset": ("prepare {c}/manifest.csv --out {t}/x --preset foo", "'foo'"),
    "an unknown option": ("scan {s}/junk --nonsense", "--nonsense"),
    "a recipe to show": ("recipes show", "name"),
    "an unknown recipe to show": ("recipes show phantom_tin", "did you mean 'phantom_tiny'"),
    "an unknown recipe to judge": ("doctor --recipe phantom_tin", "did you mean 'phantom_tiny'"),
}


@pytest.mark.parametrize("name", DATA)
def test_what_cannot_be_read_or_written_is_said(name, strange, chain, medssl, tmp_path):
    line, *words = DATA[name]
    preview = " ".join([*PRETRAIN, *chain.data])
    image = chain.scans / "images" / "case_000.nii.gz"
    before = content(strange), content(chain.scans), content(chain.root / "runs")
    refused(medssl(*line.format(s=strange, c=chain.root, t=tmp_path, p=preview, i=image).split()), *words)
    assert before == (content(strange), content(chain.scans), content(chain.root / "runs"))


RECIPES = {  # overrides of the pretraining recipe -> words of the sentence
    "train.stepz=3": ("'train.stepz'", "did you mean 'steps'"),
    "method.tempreture=0.1": ("'tempreture'", "did you mean 'temperature'"),
    "train.steps=abc": ("'train.steps'", "'abc'"),
    "method.temperature=abc": ("'temperature'", "'abc'"),
    "train.steps=-1": ("'train.steps'", "-1"),
    "seed=-1": ("'seed'", "-1"),
    "seed=100000000000000000000": ("'seed'",),
    "method.kind=moco": ("method.kind=moco", "moco_v2"),
    "method.kind=..": ("method.kind",),
    "encoder.kind=vit": ("encoder.kind=vit", "tiny"),
    "method.kind=nowhere.at_all": ("nowhere.at_all", "PYTHONPATH"),
    "views.size=[17,16,16]": ("[17, 16, 16]", "not divisible"),
    "views.size=32": ("'size'", "32"),
    "views.size=[32,32]": ("[32, 32]", "3 positive"),
    "views.preset=foo": ("foo", "xray"),
    "views.count=1": ("views.count",),
    "crop.scale=[1,0.2]": ("crop.scale", "low <= high"),
    "crop.alpha=0": ("crop.alpha", "positive"),
    "crop.level=9": ("crop.level=9", "0 to 3"),
    "method.temperature=0": ("",),
    "method.negatives=100000": ("100000", "method.negatives=4"),
    "optimizers.main.lr=0": ("'optimizers.main.lr'", "greater than 0"),
    "optimizers.main.lr=1e38": ("'optimizers.main.lr'", "less than or equal to"),
    "optimizers.foo={kind: sgd, lr: 0.1}": ("optimizers.foo", "no player"),
    "restore=null": ("adversary", "restore"),
    "restore.start=6": ("restore.start=6", "earlier"),
    "channels=2": ("channel", "channels=1"),
    "data.train=nothing": ("nothing", "train"),
    "data.cache=null": ("no data",),
    "data.cache={strange}": ("no cache",),
    "data.cache={strange}/flat": ("2 axes", "spatial_dims is 3"),
    "data.splits={strange}/broken.json": ("broken.json",),
    "train.accumulate=4": ("train.batch=2", "train.batch=4"),
    "devices=3": ("train.batch=2", "3 device"),
    "strategy=fsdp": ("fsdp",),
    "out=/dev/null/x": ("cannot be written",),
    "out={strange}/file/x": ("cannot be written",),
    "out={strange}/full": ("not empty", "resume=true", "overwrite=true"),
    "init=/nowhere": ("/nowhere does not exist",),
    "init={strange}/noise.pt": ("noise.pt",),
    "nonsense": ("key.sub=value",),
    "nonsense=1": ("unknown key 'nonsense'",),
}


@pytest.mark.parametrize("override", RECIPES)
def test_a_recipe_that_cannot_work_is_refused_in_words(override, strange, chain, medssl, tmp_path):
    kept = content(strange)
    named = override.format(strange=strange) if "{strange}" in override else override
    extra = ["data.train=a"] if "splits" in override else []
    refused(medssl("pretrain", *PRETRAIN, *chain.data, f"out={tmp_path}/run", named, *extra), *RECIPES[override])
    assert content(strange) == kept


FINE = {
    "task.kind=detect": ("task.kind=detect", "segment"),
    "augment.size=[16,16]": ("[16, 16]", "spatial_dims is 3"),
    "augment.size=[17,16,16]": ("not divisible",),
    "encoder.channels=[4,8,16,32]": ("[4, 8, 16, 32]", "[16, 32, 64, 128]", "set encoder=auto"),
    "init=/nowhere": ("/nowhere does not exist",),
    "init={strange}/noise.pt": ("damaged",),
    "init={strange}/empty": ("no checkpoint",),
    "init_parts=[foo]": ("foo", "no such part"),
    "data.train=nothing": ("no case has the split 'nothing'",),
    "data.cache={strange}/flat": ("2 axes",),
    "seed=-1": ("'seed'",),
    "optimizers.bank={kind: sgd, lr: 0.1}": ("bank",),
}


@pytest.mark.parametrize("override", FINE)
def test_a_finetuning_that_cannot_work_is_refused_in_words(override, strange, chain, medssl, tmp_path):
    named = override.format(strange=strange) if "{strange}" in override else override
    words = ["finetune", *FINETUNE, *chain.data, f"init={chain.pretrained}", f"out={tmp_path}/run", named]
    refused(medssl(*words), *FINE[override])


@pytest.mark.parametrize("name", ["empty", "list", "binary", "broken", "missing"])
def test_a_file_that_is_no_recipe_is_said(name, strange, medssl, tmp_path):
    refused(medssl("pretrain", strange / f"{name}.yaml", f"out={tmp_path}/run"), f"{name}.yaml")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_recipe_is_said_with_the_closest(medssl):
    refused(medssl("pretrain", "phantom_tin", "out=x"), "did you mean 'phantom_tiny'")


def test_out_must_be_given(chain, medssl):
    refused(medssl("pretrain", *PRETRAIN, *chain.data), "out is missing")
    refused(medssl("finetune", *FINETUNE, *chain.data), "out is missing")
    refused(medssl("benchmark", "phantom_tiny"), "out is missing")


def test_labels_are_needed_to_finetune(chain, medssl, tmp_path):
    medssl("scan", chain.scans / "images", "--split", "0.6,0.4", "--out", tmp_path / "m.csv")
    medssl("prepare", tmp_path / "m.csv", "--out", tmp_path / "cache", "--preset", "ct")
    said = medssl("finetune", *FINETUNE, *chain.data, f"data.cache={tmp_path / 'cache'}", f"out={tmp_path / 'run'}")
    refused(said, "no labelled case", "labels")


@pytest.mark.parametrize(
    ("override", "words"), [("fractions=[n99]", ["n99"]), ("fractions=[0.0]", ["0.0"]), ("fractions=[2.0]", ["2.0"])]
)
def test_a_fraction_must_be_one(override, words, chain, medssl, tmp_path):
    task = f"tasks.segment.data.cache={chain.cache}"
    refused(medssl("benchmark", "phantom_tiny", task, f"out={tmp_path}/run", override), *words)


def test_a_run_goes_on_as_it_was_or_not_at_all(chain, medssl, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(chain.pretrained, run)
    kept = content(run)
    words = ["pretrain", *PRETRAIN, *chain.data, f"out={run}", "resume=true"]
    refused(medssl(*words, "train.steps=8"), "train.steps is 8, was 6")
    refused(medssl(*words, "overwrite=true"), "contradict")
    assert content(run) == kept
    (run / "checkpoints" / "last.pt").write_bytes(b"cut off")
    kept = content(run)
    refused(medssl(*words), "damaged")
    assert content(run) == kept


def test_a_checkpoint_of_another_architecture_is_refused_by_tensor_and_shapes(chain, medssl, tmp_path):
    said = medssl("pretrain", *PRETRAIN, *chain.data, f"init={chain.pretrained}", f"out={tmp_path}/run",
                  "encoder.channels=[4,8,16,32]", "init_parts=[encoder]")  # fmt: skip
    refused(said, "encoder.", "[4,", "use the channels")


def test_debug_shows_the_traceback_and_nothing_else_does(strange):
    words = [sys.executable, "-m", "medssl.cli", "recipes", "show", "nothing_like_it"]
    plain = subprocess.run(words, capture_output=True, text=True)
    debug = subprocess.run([*words, "--debug"], capture_output=True, text=True)
    assert (plain.returncode, plain.stderr.count("\n"), plain.stdout) == (2, 1, "")
    assert "Traceback" in debug.stderr
    assert "InputError: there is no recipe" in debug.stderr


def test_a_real_process_says_one_line_as_well(chain, tmp_path):
    words = [*PRETRAIN, *chain.data, "init=/nowhere", f"out={tmp_path}/run"]
    done = subprocess.run([sys.executable, "-m", "medssl.cli", "pretrain", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("medssl: /nowhere does not exist")
    assert done.stderr.count("\n") == 1
