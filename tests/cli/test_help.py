"""What the command line says of itself."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import medssl as package
from medssl.cli import app

VERBS = ["doctor", "scan", "prepare", "convert", "preview", "pretrain", "finetune", "predict", "embed"]
VERBS += ["benchmark", "report", "export", "recipes", "demo"]
HEAVY = ("torch", "monai", "numpy", "pandas", "matplotlib", "lightning_fabric")
PLAIN = re.compile(r"\x1b\[[0-9;]*m")


def test_the_verbs_are_those_of_the_grammar():
    assert [command.name or command.callback.__name__ for command in app.registered_commands] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, medssl):
    said = medssl(verb, "--help")
    text = " ".join(PLAIN.sub("", said.out).split())
    assert said.code == 0
    assert said.err == ""
    assert re.search(rf"Examples?: .*medssl {verb}\b", text)


def test_without_words_the_help_is_shown(medssl):
    assert medssl() == medssl("--help")
    assert all(f" {verb} " in medssl().out for verb in VERBS)


def test_the_version_is_said(medssl):
    assert medssl("--version").out == f"medssl {package.__version__}\n"


def test_help_needs_no_heavy_package():
    watch = f"import sys; sys.argv = ['medssl', '--help']\nfrom medssl.cli import main\ntry:\n    main()\nfinally:\n    print([name for name in {HEAVY} if name in sys.modules])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
