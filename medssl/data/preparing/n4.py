"""Correction of the slow shading of MR images by SimpleITK's N4 (`prepare --n4`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medssl.data.read.volume import Volume

LONGEST = 64  # voxels: the field is smooth, so it is fitted to an image reduced to about this length


def corrected(volume: Volume) -> Volume:
    """The image divided by the bias field that N4 fits inside Otsu's foreground; as float32, with the same minimum.

    Each channel has a field of its own. The field does not depend on the unit of the image.
    """
    fields = [_field(channel, volume.spacing) for channel in volume.array]
    low = [channel.min() for channel in volume.array]
    array = [
        (channel - least).astype(np.float32) / field + least
        for channel, least, field in zip(volume.array.astype(np.float32), low, fields, strict=True)
    ]
    return volume._replace(array=np.stack(array))


def _field(channel: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """The factor by which each voxel is too bright, with mean 1 in the foreground."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(channel.astype(np.float32) - float(channel.min()) + 1)  # N4 takes logarithms
    image.SetSpacing([float(mm) for mm in spacing[::-1]])
    mask = SimpleITK.OtsuThreshold(image, 0, 1)
    shrink = [max(1, size // LONGEST) for size in image.GetSize()]
    correct = SimpleITK.N4BiasFieldCorrectionImageFilter()
    correct.SetNumberOfThreads(1)  # sums in another order would give another cache
    correct.Execute(SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(mask, shrink))
    field = np.exp(SimpleITK.GetArrayFromImage(correct.GetLogBiasFieldAsImage(image)))
    inside = SimpleITK.GetArrayFromImage(mask) > 0
    return (field / field[inside].mean()).astype(np.float32)
