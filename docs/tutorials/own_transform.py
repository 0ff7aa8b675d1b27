"""Tutorial 3: a transform of your own is one file; a recipe names it, and medssl checks that it holds to the laws."""

import sys
from pathlib import Path

import medssl
from medssl.testing import check_transform

SHADING = '''
import numpy as np
from medssl.transforms.base import RandTransform


class RandShadingd(RandTransform):
    """Multiply by a ramp along the last axis, from 1 down to 1 - strength."""

    def __init__(self, keys="image", prob: float = 1.0, strength: float = 0.5, allow_missing_keys: bool = False):
        super().__init__(keys, prob, allow_missing_keys)
        self.strength = strength

    def parameters(self, rng, shape):
        return {"fall": float(rng.uniform(0, self.strength))}

    def change(self, x, params):
        return x * np.linspace(1, 1 - params["fall"], x.shape[-1], dtype=np.float32)


build = RandShadingd
'''

# One file in a folder, anywhere that Python finds it.
Path("mine").mkdir(exist_ok=True)
Path("mine/shading.py").write_text(SHADING)
sys.path.insert(0, ".")

# The laws: the same draw gives the same image, nothing is changed in place, and so on.
check_transform("mine.shading")

# In a recipe its arguments are keys; an unknown one is refused before any data is read.
recipe = {
    "views.intensity": [{"kind": "mine.shading", "strength": 0.8}],
    "data.phantom": {"cases": 4, "size": [32, 32, 32]},
}
print(medssl.preview("phantom_tiny", recipe, out="views.png"))
