"""Fine-tuned networks on a CUDA device give what they give on a CPU, run in bf16, and keep large outputs off it."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from finetuning import CLASSIFY, SEGMENT, recipe

from medssl.data.cache import Cache
from medssl.data.phantom.cases import phantom_cache
from medssl.finetuning.loop import tune
from medssl.finetuning.predict import load, predict
from medssl.models import windows
from medssl.patches import network_input
from medssl.recipe import Options

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TASKS = {
    "segment": (SEGMENT, {}),
    "localize": (SEGMENT, {"task": {"kind": "localize", "classes": ["lesion"]}}),
    "heatmap": (SEGMENT, {"task": {"kind": "localize", "classes": ["lesion"], "head": "heatmap"}}),
    "classify": (CLASSIFY, {}),
}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Float32 as written: without TF32, which rounds the factors of a convolution to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module", params=TASKS)
def made(request, tmp_path_factory):
    """A fine-tuning on the CPU, and how to repeat it elsewhere."""
    folder, (text, changes) = tmp_path_factory.mktemp(request.param), TASKS[request.param]
    size, preset = ((32, 32), "xray") if text is CLASSIFY else ((24, 24, 24), "ct")
    phantom_cache(folder / "cache", 6, size, 0, preset)

    def run(name, device, **more):
        group = {"data": {"cache": str(folder / "cache")}, **changes}
        tune(recipe(text, **group, **more), Options(out=str(folder / name), device=device))
        return folder / name

    return run("cpu", "cpu"), run


def outputs(run, device):
    """What the network of a run says of every case of its cache, on a device."""
    trained = load(run)
    cache = Cache(run.parent / "cache")
    model = trained.model.to(device).eval()
    found = []
    for name, case in cache.cases.items():
        x = network_input(cache.image(name), case.intensity, case.spacing, trained.size, trained.task.dense)
        with torch.no_grad():
            found.append(trained.task.predict(model, x.to(device), trained.size)[0].cpu().numpy())
    return found


def test_the_same_weights_predict_the_same(made):
    for here, there in zip(outputs(made[0], "cpu"), outputs(made[0], DEVICE), strict=True):
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-3)


def test_training_gives_the_same_network(made):
    """Six steps in float32: the same draws of patches and changes, so the same weights but for rounding."""
    before, run = made
    for here, there in zip(outputs(before, "cpu"), outputs(run("there", DEVICE), "cpu"), strict=True):
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-3)


def test_bf16_trains_and_predicts(made):
    run = made[1]("bf16", DEVICE, train={"precision": "bf16"})
    assert all(np.isfinite(found).all() for found in outputs(run, DEVICE))


def test_predict_writes_the_same_masks(made, tmp_path):
    """By the function of the command, from files."""
    image = tmp_path / "scan.nii.gz"
    if len(load(made[0]).size) == 2:
        pytest.skip("a classifier writes no mask")
    array = np.random.default_rng(0).normal(0, 200, (24, 24, 24)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), image)
    for device in ("cpu", DEVICE):
        predict(made[0], [image], tmp_path / device, device=device)
    here, there = (nibabel.load(tmp_path / device / "scan.nii.gz").get_fdata() for device in ("cpu", DEVICE))
    assert np.mean(here != there) < 1e-3


def test_logits_of_a_large_image_lie_in_main_memory(monkeypatch):
    """The peak on the device is then that of its windows and the image, whatever the number of classes."""
    monkeypatch.setattr(windows, "ON_DEVICE", 2**20)
    model = torch.nn.Conv3d(1, 64, 1).to(DEVICE)
    x = torch.zeros(1, 1, 128, 128, 128, device=DEVICE)
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        found = windows.logits(model, x, (32, 32, 32))
    assert found.device.type == "cpu"
    assert torch.cuda.max_memory_allocated() < found.numel() * found.element_size() / 8
