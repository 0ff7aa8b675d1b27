"""In- and out-painting of Models Genesis and TransVW against their releases, drawn independently at 64 x 64 x 32.

Released (both): sides of erased blocks randint(s // 6, s // 3), of windows s - randint(3 s // 7, 4 s // 7), both ends
included; places randint(3, s - side - 3). Genesis erases up to five blocks, each with 0.95, or leaves a window and with
0.95 each up to four more; TransVW erases one block, or leaves one window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from medssl.transforms.corruption import genesis, transvw

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE, DRAWS = (64, 64, 32), 3000


def randint(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def erased(rng: np.random.Generator, outer: bool, many: bool) -> float:
    """Share of noise of one released painting."""
    marked = np.full(SHAPE, outer)
    for number in range(5 if many else 1):
        if many and not (outer and number == 0) and rng.random() >= 0.95:
            break
        box = []
        for s in SHAPE:
            side = s - randint(rng, 3 * s // 7, 4 * s // 7) if outer else randint(rng, s // 6, s // 3)
            at = randint(rng, 3, s - side - 3)
            box.append(slice(at, at + side))
        marked[tuple(box)] = not outer
    return float(marked.mean())


def paintings(kind: str) -> dict[bool, Any]:
    """Our in- and out-painting of a mixture, by whether it is the outer one."""
    if kind == "genesis":
        outer, inner = genesis.build().steps[2].choices
    else:
        inner, outer = transvw.build().choices[2:]
    return {True: outer, False: inner}


def boxes(painting: Any) -> Iterator[list[int]]:
    for seed in range(DRAWS):
        params = painting.draw(np.random.default_rng(seed), (1, *SHAPE))
        yield from params["boxes"] if params else []


@pytest.mark.parametrize("kind", ["genesis", "transvw"])
@pytest.mark.parametrize("outer", [False, True])
def test_sides_and_places_are_those_of_the_release(kind: str, outer: bool) -> None:
    drawn = np.array(list(boxes(paintings(kind)[outer])))
    for axis, s in enumerate(SHAPE):
        low, high = (s - 4 * s // 7, s - 3 * s // 7) if outer else (s // 6, s // 3)
        start, side = drawn[:, axis], drawn[:, axis + 3]
        assert np.unique(side).tolist() == list(range(low, high + 1))
        assert start.min() == 3
        assert (start + side).max() == s - 3
        for one in (low, high):  # every place is as likely
            at = start[side == one]
            assert np.unique(at).tolist() == list(range(3, s - one - 3 + 1))
            assert at.mean() == pytest.approx((s - one) / 2, abs=5 * at.std() / np.sqrt(len(at)))
    assert drawn[:, 3].mean() == pytest.approx(32.5 if outer else 15.5, abs=0.3)


@pytest.mark.parametrize("kind", ["genesis", "transvw"])
@pytest.mark.parametrize("outer", [False, True])
def test_as_much_is_noise_as_in_the_release(kind: str, outer: bool) -> None:
    painting, rng = paintings(kind)[outer], np.random.default_rng(0)
    theirs = [erased(rng, outer, kind == "genesis") for _ in range(DRAWS)]
    ours = [painting.mask((1, *SHAPE), painting.draw(rng, (1, *SHAPE))).mean() for _ in range(DRAWS)]
    spread = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(DRAWS)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=4 * spread)
    assert 4 * spread < 0.02


def test_a_small_view_leaves_room_for_less() -> None:
    painting = paintings("transvw")[False]
    drawn = np.array([painting.draw(np.random.default_rng(s), (1, 6, 3, 1))["boxes"][0] for s in range(200)])
    assert (drawn[:, :3] >= 0).all()
    assert (drawn[:, :3] + drawn[:, 3:] <= [6, 3, 1]).all()
