"""What the command line says of itself."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import medssl as package
from medssl.cli import app
from medssl.recipe import Options, options_help
from medssl.recipe.options import NOT_OF

VERBS = ["doctor", "scan", "prepare", "convert", "plan", "preview", "pretrain", "finetune", "predict", "embed"]
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


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "benchmark"])
def test_run_options_are_in_the_help_of_the_verbs_that_take_them(verb, medssl):
    text = " ".join(PLAIN.sub("", medssl(verb, "--help").out).split())
    for written, meaning in options_help(verb):
        assert f"{written} {meaning}"[:45] in text  # then a narrow terminal goes on in the next line
    told = {written.split("=")[0] for written, _ in options_help(verb)}
    assert told | {"check"} | set(NOT_OF.get(verb, ())) == set(Options.model_fields)


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "benchmark"])
def test_a_dry_run_checks_and_writes_nothing(verb, medssl, tmp_path):
    said = medssl(verb, "phantom_tiny", "dry_run=true", f"out={tmp_path / 'run'}")
    assert said.code == 0, said.err
    assert "the recipe is valid" in said.out
    assert not (tmp_path / "run").exists()
    said = medssl(verb, "phantom_tiny", "dry_run=true", "encodr.kind=tiny")
    assert (said.code, "encodr" in said.err) == (2, True)


def test_the_old_name_of_the_two_checks_says_the_new(medssl):
    said = medssl("finetune", "phantom_tiny", "check=true")
    assert said.code == 0
    assert "the recipe is valid" in said.out
    assert "check=true is now called dry_run=true" in said.err
    said = medssl("finetune", "phantom_tiny", "overfit_check=true")
    assert said.code == 2
    assert "dry_run=true checks a finetune recipe" in said.err
