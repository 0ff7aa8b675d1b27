"""The documentation: pages name what exists, tutorials run, and the site builds strict where mkdocs is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import medssl
from medssl.recipe import listed

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIALS = sorted(path.stem for path in (DOCS / "tutorials").glob("*.py"))


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without the Python objects that some themes name."""


def nav(entry) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [name for inner in (entry.values() if isinstance(entry, dict) else entry) for name in nav(inner)]


def test_every_page_of_the_navigation_is_there():
    pages = nav(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_Loader)["nav"])
    assert pages[0] == "index.md"
    assert [page for page in pages if not (DOCS / page).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_what_a_page_includes_and_links_is_there(page):
    text = page.read_text()
    for name in re.findall(r'--8<-- "([^"]+)"', text):
        assert (DOCS / name).is_file() or (ROOT / name).is_file(), name
    for name in re.findall(r"\]\(([^)#:\s]+\.(?:md|png))", text):
        assert (page.parent / name).is_file(), name


def test_the_verbs_and_recipes_that_pages_name_are_there():
    from medssl.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    recipes = {recipe.name for recipe in listed()}
    for page in PAGES:
        blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.M | re.S)
        for line in re.findall(r"^medssl ([^\n]*)", "\n".join(blocks), re.M):
            words = line.split()
            assert words[0] in verbs, (page.name, line)
            if words[0] in ("pretrain", "finetune") and re.fullmatch(r"[a-z][a-z0-9_]+", words[1]):
                assert words[1] in recipes, (page.name, line)


def test_the_api_page_has_every_function():
    shown = set(re.findall(r"^::: medssl\.(\w+)$", (DOCS / "api.md").read_text(), re.M))
    assert shown == set(medssl.__all__) - {"__version__", "testing", "transforms"}


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_page_of_a_tutorial_shows_its_script(name):
    assert f'\n--8<-- "tutorials/{name}.py"\n' in (DOCS / "tutorials" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_in_an_empty_folder(name, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = [sys.executable, str(DOCS / "tutorials" / f"{name}.py")]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout, "a tutorial shows something"


@pytest.mark.parametrize("name", ["bug", "data"])
def test_an_issue_form_is_one_that_the_host_takes(name):
    """In a flow mapping a comma ends a sentence that is not quoted, and makes a key of the rest of it."""
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    for part in form["body"]:
        keys = {"value"} if part["type"] == "markdown" else {"label", "description", "render"}
        assert set(part["attributes"]) <= keys


def test_the_job_requeues_on_75_alone(tmp_path):
    """With stand-ins for srun and scontrol: what the job asks of SLURM for each exit code of medssl."""
    (tmp_path / "scontrol").write_text('#!/bin/bash\necho "$@" > asked\n')
    for code, asked in ((0, False), (2, False), (75, True)):
        (tmp_path / "srun").write_text(f"#!/bin/bash\nexit {code}\n")
        for name in ("srun", "scontrol"):
            (tmp_path / name).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
        environment["SLURM_CPUS_PER_TASK"] = "8"
        job = ["bash", str(DOCS / "slurm" / "pretrain.sbatch"), "recipe.yaml", "cache", "out"]
        done = subprocess.run(job, cwd=tmp_path, env=environment, check=False)
        assert (tmp_path / "asked").exists() == asked
        assert done.returncode == (0 if asked else code)
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


@pytest.mark.skipif(find_spec("mkdocs") is None, reason='mkdocs is not installed: pip install -e ".[docs]"')
def test_the_site_builds_without_a_warning(tmp_path):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / "site" / "index.html").read_text()
    assert "fonts.googleapis" not in page
