#!/usr/bin/env bash
# CI: the lowest versions that pyproject.toml allows, with the tests of the command line.
# usage: .ci/lowest.sh [FOLDER]; TORCH=2.13.0 takes that torch in place of the lowest, where another build is wanted.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-$(mktemp -d)/venv}
python3 -m venv "$venv"
"$venv/bin/python" - "${TORCH:-}" > "$venv/lowest.txt" <<'PYTHON'
import re
import sys
import tomllib

for line in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
    name, lowest = re.fullmatch(r"([\w.-]+)>=([\w.]+).*", line).groups()
    print(f"{name}=={sys.argv[1] if name == 'torch' and sys.argv[1] else lowest}")
PYTHON
cat "$venv/lowest.txt"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" "$(grep '^torch==' "$venv/lowest.txt")"  # first, so that a build which is there is not replaced
"${pip[@]}" -c "$venv/lowest.txt" . pytest hypothesis hatchling hatch-fancy-pypi-readme
# the command and not `python -m`, which would put the checkout before the installed package
"$venv/bin/pytest" -p no:cacheprovider tests/cli tests/unit/test_recipe.py tests/unit/test_package.py
