# `make demo` and `make test` need Python 3.11 or newer with venv, and make. Everything lands in .venv and demo/.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: demo test lint install clean

demo: .venv/user
	rm -rf demo
	$(BIN)/medssl demo --out demo

test: .venv/dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/user

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "medssl needs Python 3.11, 3.12 or 3.13 with venv: install one, or name it with make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/user: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# without its dependencies: they pull timm and torchvision, which break imports beside a CPU torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps dynamic-network-architectures
	@touch $@

clean:
	rm -rf .venv demo
