"""The phantom data set of `nnunet.sh`, and the comparison of what nnU-Net started from with what was exported."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def data(raw: str) -> None:
    """Two volumes of 40^3 with a ball to segment, in nnU-Net's raw format."""
    import nibabel
    import numpy as np

    root = Path(raw) / "Dataset001_Phantom"
    places = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for case in range(2):
        rng = np.random.default_rng(case)
        ball = np.linalg.norm(places - rng.uniform(15, 25, 3), axis=-1) < 8
        image = rng.normal(0, 0.1, ball.shape) + ball
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        for name, array in ((f"imagesTr/case{case}_0000", np.float32(image)), (f"labelsTr/case{case}", np.uint8(ball))):
            nibabel.save(nibabel.Nifti1Image(array, affine), root / f"{name}.nii.gz")
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "ball": 1}}
    (root / "dataset.json").write_text(json.dumps({**content, "numTraining": 2, "file_ending": ".nii.gz"}))


def compare(exported: str, seen: str) -> None:
    """Every encoder tensor that nnU-Net started training with equals the exported one; exit 1 where one does not."""
    import torch

    ours = torch.load(exported, weights_only=True)["network_weights"]
    seen_weights = torch.load(seen, weights_only=True)
    start, end = seen_weights["start"], seen_weights["end"]
    encoder = {name: tensor for name, tensor in ours.items() if name.startswith("encoder.")}
    equal = [name for name, tensor in encoder.items() if name in start and torch.equal(tensor, start[name])]
    moved = max(float((end[name] - tensor).abs().max()) for name, tensor in encoder.items())
    print(f"{len(equal)} of {len(encoder)} encoder tensors equal ours at the start")
    print(f"largest change of one of their values after the epoch: {moved:.4f}")
    theirs = [name for name in start if name.startswith("encoder.")]
    sys.exit(0 if len(equal) == len(encoder) == len(theirs) and moved > 0 else 1)


if __name__ == "__main__":
    {"data": data, "compare": compare}[sys.argv[1]](*sys.argv[2:])
