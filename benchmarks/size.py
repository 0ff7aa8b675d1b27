"""What an installed medssl takes on disk, and its ten largest packages: python benchmarks/size.py, in its environment.

torch and what torch itself needs are counted apart, since they differ by more than all the rest from build to build
(CPU or CUDA). Optional extras are not counted. Sizes are those of the files that the packages list, in MiB.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Collection

MIB = 2**20


def main() -> None:
    torch = {name for name, _ in _needed("torch", set())}
    rest = {name for name, _ in _needed("medssl", set())} - torch
    sizes = sorted(((_size(name), name) for name in rest), reverse=True)
    print(f"torch and what it needs: {sum(map(_size, torch)):.0f} MiB")
    print(f"everything else, {len(rest)} packages: {sum(size for size, _ in sizes):.0f} MiB, of which")
    for size, name in sizes[:10]:
        print(f"  {name} {size:.0f}")


def _needed(name: str, found: set[tuple[str, str]], extras: Collection[str] = ()) -> set[tuple[str, str]]:
    """`found`, with a package and all that it needs here, for itself and for its `extras`."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return found
    name = package.metadata["Name"].lower().replace("_", "-")
    asked = {extra for extra in ("", *extras) if (name, extra) not in found}
    found |= {(name, extra) for extra in asked}
    for needed in map(Requirement, package.requires or []) if asked else ():
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in asked):
            _needed(needed.name, found, needed.extras)
    return found


def _size(name: str) -> float:
    paths = [file.locate() for file in distribution(name).files or []]
    return sum(path.stat().st_size for path in paths if path.is_file()) / MIB


if __name__ == "__main__":
    main()
