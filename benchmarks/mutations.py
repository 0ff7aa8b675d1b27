"""Faults that tests of fine-tuning, inference, predict and report must notice: each is made in a copy, and a test dies.

    python benchmarks/mutations.py            # the table: fault, file, the test that died
    python benchmarks/mutations.py overlap    # only the faults with this word

Exit code 1 if a fault survives its tests, or a test fails without one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("medssl", "recipes", "tests", "pyproject.toml")
REFERENCE, LOOP = "tests/reference/test_finetune.py", "tests/unit/test_finetune_loop.py"
PREDICT, REPORT, CLASSIFY = "tests/unit/test_predict.py", "tests/unit/test_report.py", "tests/unit/test_classify.py"


class Fault(NamedTuple):
    """One line of a source file made wrong, and the tests that should notice."""

    what: str
    file: str  # in medssl/
    right: str  # occurs once
    wrong: str
    tests: tuple[str, ...]


def reference(name: str) -> tuple[str, ...]:
    return (f"{REFERENCE}::test_{name}",)


STEPS = reference("three_steps_give_the_weights_and_losses_of_the_reference")
MODES = reference("validation_is_in_eval_mode_by_windows_that_overlap_and_training_goes_on_in_training_mode")
BEST = reference("the_weights_that_validated_best_are_tested_and_predict")
LABELS = reference("labels_are_the_nearest_voxels_of_where_the_image_looks")
SEEN = reference("training_and_inference_see_the_voxels_that_are_there_cut_to_the_window")
FAULTS = [
    Fault(
        "labels are interpolated, not the nearest",
        "patches.py",
        "warp(found.target, map_, order=0, fill=0)[0]",
        "warp(found.target, map_, order=1, fill=0.0)[0].astype(np.uint8)",
        LABELS,
    ),
    Fault(
        "eval mode is left on after a validation",
        "finetuning/evaluate.py",
        "    with evaluating(model):",
        "    if model.eval():",
        MODES,
    ),
    Fault(
        "the last weights are tested, not the best",
        "finetuning/loop.py",
        '    run.model.load_state_dict(best["weights"])\n',
        "",
        BEST,
    ),
    Fault(
        "inference does not cut to the window",
        "patches.py",
        "scaled(np.array(image[:], np.float32), intensity)",
        "scaled(np.array(image[:], np.float32), intensity, cut=False)",
        SEEN,
    ),
    Fault(
        "losses are averaged, not summed",
        "finetuning/loop.py",
        "torch.stack(list(losses.values())).sum()",
        "torch.stack(list(losses.values())).mean()",
        STEPS,
    ),
    Fault("windows do not overlap", "models/windows.py", "        overlap=overlap,", "        overlap=0.0,", SEEN),
    Fault("a validation is in training mode", "finetuning/evaluate.py", "with evaluating(model):", "if True:", MODES),
    Fault("the worst weights count as the best", "finetuning/loop.py", "value > run.best", "value < run.best", BEST),
    Fault(
        "test cases choose the weights",
        "finetuning/loop.py",
        '_rows(run, module, "val")\n    summary',
        '_rows(run, module, "test")\n    summary',
        MODES,
    ),
    Fault(
        "accumulated parts are summed, not averaged",
        "runtime/training.py",
        "backward(part.total / parts)",
        "backward(part.total)",
        STEPS,
    ),
    Fault("the warm-up is a step late", "engine/schedule.py", "(step + 1) / warmup", "step / warmup", STEPS),
    Fault(
        "gradients are not clipped",
        "engine/players.py",
        "            clip_grads_with_norm_(_parameters(player), clip, norms[name])\n",
        "            pass\n",
        STEPS,
    ),
    Fault(
        "patches start one voxel off",
        "crop/patch.py",
        "    return Window(tuple(int(s) for s in start), tuple(size))",
        "    return Window(tuple(int(s) + 1 for s in start), tuple(size))",
        SEEN,
    ),
    Fault(
        "intervals resample cases, not patients",
        "finetuning/evaluate.py",
        'patients = [row["patient"] for row in found]',
        'patients = [row["id"] for row in found]',
        (f"{LOOP}::test_intervals_resample_patients",),
    ),
    Fault(
        "predictions.csv tells the guess as the label",
        "finetuning/evaluate.py",
        'if row[f"truth.{name}"]',
        'if row[f"probability.{name}"] > 0.5',
        reference("classification_learns_and_tells_as_the_reference"),
    ),
    Fault(
        "predict is in training mode",
        "finetuning/predict.py",
        "    module.eval()\n",
        "",
        reference("predict_sees_what_training_saw"),
    ),
    Fault(
        "predict takes the last weights",
        "engine/checkpoint.py",
        '("checkpoints/best.pt", "checkpoints/last.pt",',
        '("checkpoints/last.pt", "checkpoints/best.pt",',
        BEST,
    ),
    Fault(
        "masks are upside down",
        "finetuning/predict.py",
        "grid.to_source(mask, geometry)",
        "grid.to_source(mask[::-1], geometry)",
        (f"{PREDICT}::test_a_mask_is_the_thresholded_image",),
    ),
    Fault(
        "predict overwrites its source",
        "finetuning/predict.py",
        "    _refuse_to_overwrite(found, out, masks=trained.task.dense or isinstance(trained.task, LesionTask))\n",
        "",
        (f"{PREDICT}::test_the_source_is_never_overwritten",),
    ),
    Fault(
        "the report shows radiographs that nobody asked for",
        "report/sections.py",
        "if radiographs and not pictures",
        "if False",
        (f"{REPORT}::test_radiographs_are_hidden_unless_asked_for",),
    ),
    Fault(
        "the report turns differences round",
        "report/benchmarked.py",
        'number(entry["difference"], "+.4f")',
        'number(-entry["difference"], "+.4f")',
        (f"{REPORT}::test_a_benchmark_shows_its_differences_first_and_its_runs_last",),
    ),
    Fault(
        "the report tells the validation as the test",
        "report/sections.py",
        "return name, test.get(name)",
        'return name, run.results.get("validation")',
        (f"{REPORT}::test_finetuned_runs_stand_side_by_side",),
    ),
]


def failed(copy: Path, tests: list[str]) -> str | None:
    """The first of `tests` that fails in `copy`, None if they pass."""
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-rfE", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S+::(\w+)", done.stdout, re.M)
    if found is None:
        sys.exit(f"pytest could not run {tests}:\n{done.stdout}\n{done.stderr}")
    return found[1]


def dies(copy: Path, fault: Fault) -> str | None:
    """The test that notices `fault` in `copy`, which is then as it was."""
    file = copy / "medssl" / fault.file
    right, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    if right.count(fault.right) != 1:
        sys.exit(f"{fault.file} holds {fault.right!r} {right.count(fault.right)} times, not once: mend its entry")
    file.write_text(right.replace(fault.right, fault.wrong))
    try:
        return failed(copy, list(fault.tests))
    finally:
        file.write_text(right)
        os.utime(file, ns=times)  # so that compiled files fit again


def main(word: str = "") -> int:
    """Print the table; the number of faults that survive."""
    chosen = [fault for fault in FAULTS if word in fault.what]
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        if name := failed(copy, sorted({test for fault in chosen for test in fault.tests})):
            sys.exit(f"{name} fails without any fault: mend that first")
        survivors = 0
        print("| fault | file | test that died |\n|---|---|---|")
        for fault in chosen:
            test = dies(copy, fault)
            survivors += test is None
            print(f"| {fault.what} | {fault.file} | {test or 'NONE: it survives'} |", flush=True)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} faults noticed")
    return survivors


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:2]) else 0)
