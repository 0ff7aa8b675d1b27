"""Laws of transforms: draws can be stored and replayed, and the type and affine of an image are kept."""

from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose

from medssl.kinds import kinds, named, resolve
from medssl.testing import laws
from medssl.testing.laws import law
from medssl.transforms.base import RandTransform
from medssl.transforms.corruption.base import Corruption
from medssl.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

SHAPES = ((1, 40, 36), (1, 20, 24, 22), (3, 40, 36))
SEEDS, BATCH = 8, 4
KEY = "image"
OBLIQUE = ((1.9, -0.3, 0.2, -30.0), (0.4, 1.4, -0.1, 12.0), (-0.2, 0.1, 1.0, 5.0), (0.0, 0.0, 0.0, 1.0))


def check_transform(transform: str | ModuleType | Callable[..., Any] | RandTransform, /, **settings: Any) -> None:
    """Check a dictionary transform of the key "image", in 2D and 3D, with gray and RGB images. Raises `LawError`.

    - It accepts at least one kind of image; other kinds, NaN and empty images raise an `InputError`.
    - A draw can be stored as JSON, depends on the random state only, and replays byte for byte; seeds differ.
    - The input is not modified. The output is finite float32, with the same shape (unless it crops or resizes) and
      within the transform's bounds.
    - Arrays, tensors and MetaTensors keep their type; the affine stays, or follows the voxels.
    - All keys get the same change, other entries none; `set_random_state` of a MONAI `Compose` makes it reproducible;
      copies and pickles do the same as the original.
    - `apply_batch` gives the same as `apply` for each sample, to 1e-3.
    - A corruption changes nothing outside its mask.

    Args:
        transform: the transform: a kind, a module, a `build`, or an instance.
        settings: passed to `build`.
    """
    made = _made(transform, settings)
    laws.interface(made, RandTransform, "a transform")
    taken = [image for image in _images() if _takes(made, image)]
    law("it takes some image", bool(taken), "it refuses gray and RGB in 2D and 3D, in 0..1 and in HU")
    for image in taken:
        _check_draws(made, image)
        _check_containers(made, image)
        _check_refusals(made, image)
        if not hasattr(made, "map"):
            _check_batch(made, image)
        if isinstance(made, Corruption):
            _check_mask(made, image)


def _made(transform: Any, settings: dict[str, Any]) -> RandTransform:
    if isinstance(transform, RandTransform):
        return transform
    if isinstance(transform, str) and "." not in transform:
        group = next((group for group in ("intensity", "corrupt") if transform in kinds(group)), "intensity")
        transform = resolve(group, transform)
    build = laws.build_of("intensity", transform)
    with laws.within("a transform can be built"):
        made: RandTransform = build(**settings, **named(build, {"spatial_dims": 2}))
    return made


def _images() -> list[np.ndarray]:
    """Smooth images in [0,1] (RGB ones like stained tissue), then the same in HU."""
    found = [laws.phantoms(1, shape, 0)[0].numpy() for shape in SHAPES]
    found = [0.3 + 0.6 * image if len(image) == 3 else image for image in found]
    return [*found, *(image * 2000 - 1000 for image in found)]


def _takes(made: RandTransform, image: np.ndarray) -> bool:
    """Whether it accepts an image; HU images are tried only if it refuses the scaled one."""
    scaled = image.min() >= 0
    if not scaled and _takes(made, (image + 1000) / 2000):
        return False
    with laws.within("what it does not take is refused with an InputError"):
        try:
            made(data_of(image))
        except InputError:
            return False
    return True


def data_of(image: Any) -> dict[Any, Any]:
    """A sample with an image, and with the box and index that a crop may need."""
    return {KEY: image, "box": (0.25,) * (image.ndim - 1) + (0.75,) * (image.ndim - 1), "index": 0}


def _run(made: RandTransform, image: Any, seed: int) -> tuple[Any, Any]:
    made.set_random_state(seed)
    changed = made(data_of(image))[KEY]
    return changed, made.drawn


def _check_draws(made: RandTransform, image: np.ndarray) -> None:
    before, outcomes = image.copy(), set()
    for seed in range(SEEDS):
        changed, drawn = _run(made, image, seed)
        law("the input is left as it is", np.array_equal(image, before), f"seed {seed} changed it")
        with laws.within("a draw is what JSON can hold"):
            logged = json.loads(json.dumps(drawn))
        again = made.replay(data_of(image), logged)[KEY]
        law("a draw replays byte for byte after a log", again.tobytes() == changed.tobytes(), f"seed {seed} does not")
        second, _ = _run(made, image, seed)
        law("a draw follows from the random state", second.tobytes() == changed.tobytes(), f"seed {seed} does not")
        if drawn is None:
            law("without a draw nothing is changed", np.array_equal(changed, image), f"seed {seed} changes voxels")
        _check_output(made, image, changed)
        outcomes.add(changed.tobytes())
    law("seeds differ", len(outcomes) > 1, f"{SEEDS} seeds give the same image")


def _check_output(made: RandTransform, image: np.ndarray, changed: np.ndarray) -> None:
    law("what comes out is float32", changed.dtype == np.float32, f"{changed.dtype}")
    sized = getattr(made, "size", None) is not None
    law("the shape stays", sized or changed.shape == image.shape, f"{image.shape} became {changed.shape}")
    law("what comes out is finite", bool(np.isfinite(changed).all()), "NaN or infinity")
    if image.min() >= 0 or made.unclipped:  # what comes out of a change of window is scaled
        low, high = float(changed.min()), float(changed.max())
        law("an image in 0..1 stays in 0..1", low >= -1e-5 and high <= 1 + 1e-5, f"{low:g} to {high:g}")


def _check_containers(made: RandTransform, image: np.ndarray) -> None:
    affine = torch.tensor(OBLIQUE, dtype=torch.float64)
    expected, _ = _run(made, image, 3)
    forms = {"array": image, "tensor": torch.from_numpy(image), "MetaTensor": MetaTensor(image, affine=affine)}
    for name, form in forms.items():
        changed, drawn = _run(made, form, 3)
        law("what an image is stays", type(changed) is type(form), f"{name} became {type(changed).__name__}")
        if name != "MetaTensor":  # of which a spatial transform knows the spacing
            law("all containers hold the same", np.array_equal(np.asarray(changed), expected), f"{name} holds another")
        elif not hasattr(made, "map"):
            law("the affine stays", bool(torch.equal(changed.affine, affine)), f"{changed.affine.tolist()}")
        elif image.ndim == 4 and drawn and drawn.get("elastic") is None:
            _check_affine(made, affine, image.shape[1:])
    _check_copies(made, image, expected)


def _check_affine(made: RandTransform, affine: torch.Tensor, shape: tuple[int, ...]) -> None:
    """An image of voxel positions in mm must have at each new voxel the position that the new affine states."""
    index = np.indices(shape).reshape(3, -1)
    places = (np.asarray(affine)[:3, :3] @ index + np.asarray(affine)[:3, 3:]).reshape(3, *shape).astype(np.float32)
    channels = [_run(made, MetaTensor(place[None], affine=affine), 3)[0] for place in places]
    new = np.asarray(channels[0].affine)
    at = np.indices(channels[0].shape[1:]).reshape(3, -1)
    stated = new[:3, :3] @ at + new[:3, 3:]
    inside = np.linalg.inv(np.asarray(affine)) @ np.vstack([stated, np.ones(stated.shape[1])])
    margin = 1 + np.linalg.norm(np.linalg.inv(np.asarray(affine))[:3, :3] @ new[:3, :3], axis=0).max()
    clear = ((inside[:3].T > margin) & (inside[:3].T < np.array(shape) - 1 - margin)).all(1)
    held = np.stack([np.asarray(channel)[0].reshape(-1) for channel in channels])
    gap = float(np.abs(stated - held)[:, clear].max(initial=0.0))
    law("the affine moves with the voxels", gap < 0.05, f"up to {gap:.3g} mm apart")


def _check_copies(made: RandTransform, image: np.ndarray, expected: np.ndarray) -> None:
    two = copy.deepcopy(made)
    two.keys = (KEY, "second")
    for name in ("modes", "fills"):  # of a spatial transform there is one per key
        if hasattr(two, name):
            setattr(two, name, dict.fromkeys(two.keys, next(iter(getattr(two, name).values()))))
    found = Compose([two]).set_random_state(7)({**data_of(image), "second": image.copy(), "other": "kept"})
    law("keys share one draw", np.array_equal(found[KEY], found["second"]), "two equal images came out unequal")
    law("other entries are untouched", found["other"] == "kept", f"{found['other']!r}")
    again = Compose([copy.deepcopy(two)]).set_random_state(7)({**data_of(image), "second": image.copy()})
    law("set_random_state of a Compose fixes the draw", np.array_equal(again[KEY], found[KEY]), "another image")
    with laws.within("a transform can be copied and pickled"):
        made_again = [copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    for other in made_again:
        law("a copy does the same", np.array_equal(_run(other, image, 3)[0], expected), "another image")


def _check_refusals(made: RandTransform, image: np.ndarray) -> None:
    broken = image.copy()
    broken[(0, *(n // 2 for n in image.shape[1:]))] = np.nan
    for name, wrong in (("NaN", broken), ("an image without channels", image[0, 0, 0]), ("no image", "scan.nii")):
        rule = f"{name} is refused with an InputError"
        with laws.within(rule):
            try:
                made(data_of(image) | {KEY: wrong})
            except InputError:
                continue
        law(rule, False, "it was taken")


def _check_batch(made: RandTransform, image: np.ndarray) -> None:
    images = np.stack([np.roll(image, number, -1) for number in range(BATCH)])
    drawn = [made.draw(np.random.default_rng(seed), image.shape) for seed in range(BATCH)]
    expected = np.stack([made.apply(one, params) for one, params in zip(images, drawn, strict=True)])
    x = torch.from_numpy(images.copy())
    with laws.within("a batch can be changed"):
        found = made.apply_batch(x, drawn).numpy()
    law("apply_batch leaves its input as it is", np.array_equal(x.numpy(), images), "it is changed")
    gap = float(np.abs(found - expected).max())
    law("apply_batch makes of each sample what apply makes of it", gap < 1e-3, f"up to {gap:.3g} apart")


def _check_mask(made: Corruption, image: np.ndarray) -> None:
    for seed in range(SEEDS):
        drawn = made.draw(np.random.default_rng(seed), image.shape)
        mask = made.mask(image.shape, drawn)
        good = mask.shape == (1, *image.shape[1:]) and mask.dtype == bool
        law("a mask is (1,*S) of bool", good, f"{mask.shape} of {mask.dtype}")
        outside = np.broadcast_to(~mask, image.shape)
        same = np.array_equal(made.apply(image, drawn)[outside], image[outside])
        law("nothing is changed outside the mask", same, f"seed {seed} changes voxels there")
