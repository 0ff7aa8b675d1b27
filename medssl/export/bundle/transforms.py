"""MONAI transforms that prepare an image as medssl does, and bring the mask back on the grid of its source.

They run in a bundle, without medssl: NumPy, SciPy, scikit-image, nibabel, torch and MONAI are all they need.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform

from medssl.data import grid
from medssl.data.read.volume import make
from medssl.data.reject import Rejected
from medssl.metrics.reference_lesions import largest

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

GEOMETRY = "medssl_geometry"  # entry of a sample: what `Restored` needs, as text, which survives a loader
TURNED = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # index (z,y,x) -> (x,y,z)


class Prepared(MapTransform):
    """An image as `LoadImaged` gives it, (X,Y,Z) or (X,Y,Z,C) with its affine -> (C,Z,Y,X) float32 in [0, 1].

    Raises ValueError for an image that medssl would leave out, with its reason.
    """

    def __init__(self, keys: str, preprocessing: Mapping[str, Any]) -> None:
        super().__init__(keys)
        self.preprocessing = dict(preprocessing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its images prepared."""
        found = dict(data)
        for key in self.key_iterator(found):
            image = found[key]
            array = np.asarray(image)
            array = array[..., None] if array.ndim == 3 else array
            modality = "CT" if self.preprocessing["preset"] == "ct" else "OT"
            array = np.ascontiguousarray(array.transpose(3, 2, 1, 0))
            volume = make(array, np.asarray(image.affine) @ TURNED, modality)
            try:
                prepared, geometry = grid.to_array(volume, self.preprocessing)
            except Rejected as error:
                raise ValueError(f"{error.reason} ({error.detail})") from error
            found[key] = MetaTensor(torch.from_numpy(_unit(prepared, geometry["intensity"])), meta=dict(image.meta))
            found[GEOMETRY] = json.dumps(geometry)
        return found


class Restored(MapTransform):
    """Logits (K,Z,Y,X) -> the mask (1,X,Y,Z), uint8, on the grid of the image that they are of.

    `keep` is `all`, or `largest`: of each class its largest connected component.
    """

    def __init__(self, keys: str, image: str = "image", keep: str = "all") -> None:
        super().__init__(keys)
        self.image, self.keep = image, keep

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with its masks restored."""
        found = dict(data)
        for key in self.key_iterator(found):
            mask = np.asarray(torch.as_tensor(found[key]).argmax(0).cpu()).astype(np.uint8)
            mask = largest(mask) if self.keep == "largest" else mask
            volume = grid.to_source(mask, json.loads(found[GEOMETRY]))
            name = found[self.image].meta.get("filename_or_obj")
            affine = torch.as_tensor(volume.affine @ TURNED)
            voxels = torch.from_numpy(np.ascontiguousarray(volume.array[0].transpose(2, 1, 0)))[None]
            found[key] = MetaTensor(voxels, affine=affine, meta={"filename_or_obj": name})
        return found


def _unit(array: np.ndarray, intensity: list[tuple[float, float]]) -> np.ndarray:
    """Stored values (C,*S), so that each channel's (low, high) becomes (0, 1) and what is beyond is cut."""
    x = np.ascontiguousarray(array.astype(np.float32))
    for channel, (low, high) in zip(x, intensity, strict=True):
        gain = np.float32(1 / (high - low) if high > low else 0.0)
        channel[:] = np.clip((channel - np.float32(low)) * gain, 0, 1)
    return x
