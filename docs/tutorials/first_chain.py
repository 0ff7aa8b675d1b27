"""Tutorial 1: from a folder of scans to a segmentation, on made-up CT volumes; under two minutes on one core.

The steps are far too few to learn anything: raise them for your own scans.
"""

from pathlib import Path

import medssl
from medssl.data.phantom.files import write_ct_dataset

# Ten phantom scans, half as DICOM and half as NIfTI, with masks of their lesions. Use your own folder instead.
write_ct_dataset("scans", cases=10, size=(24, 32, 32))

# Find the images. Whatever cannot be used is listed in rejected.csv with the reason.
found = medssl.scan("scans/images", "manifest.csv", labels="scans/labels", split=[0.6, 0.2, 0.2])
print(len(found.rows), "images;", [left.reason for left in found.rejected])

# Orient, crop to the body and store them; then look at what the network will see.
cache = medssl.prepare("manifest.csv", "cache", preset="ct")
medssl.preview("phantom_tiny", {"data.cache": cache}, out="views.png")

# Pretrain without labels, fine-tune with them, from the pretraining and from scratch.
settings = {"data.cache": cache, "train.steps": 12}
run = medssl.pretrain("phantom_tiny", settings, out="runs/pretrain")
tuned = medssl.finetune("phantom_tiny", settings, init=run, out="runs/pretrained")
scratch = medssl.finetune("phantom_tiny", settings, init="scratch", out="runs/scratch")
for name, result in (("pretrained", tuned.results), ("scratch", scratch.results)):
    print(name, "test Dice", round(result["test"]["dice"], 3), "interval", result["test"]["interval"])

# Masks for new images, on their own grid, and one report about everything.
medssl.predict(tuned, "scans/images", "masks")
print(medssl.write_report([run, tuned, scratch], Path("report.html")))
