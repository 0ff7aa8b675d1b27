"""`medssl recipes`: what it lists, shows and prints."""

from __future__ import annotations

import json

import pytest
import yaml

from medssl.recipe import listed, shipped
from medssl.types import InputError
from medssl.verbs.recipes import COLUMN, _line, recipes


def test_the_list_has_one_line_a_recipe_with_its_first_sentence(capsys):
    recipes("list", None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{path.parent.name}/{path.stem}" for path in shipped()]
    for line, path in zip(lines, shipped(), strict=True):
        sentence = line.split(maxsplit=1)[1]
        header = " ".join(path.read_text().replace("\n# ", " ").removeprefix("# ").split())
        assert header.startswith(f"{sentence} ")
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert ". " not in sentence


def test_on_a_terminal_sentences_keep_to_their_column():
    [recipe] = [one for one in listed("pretrain") if one.name == "dira_adco_ccrop_3d"]
    first, *rest = _line(recipe, 90).splitlines()
    assert first.startswith("pretrain/dira_adco_ccrop_3d ")
    assert all(line[:COLUMN] == " " * COLUMN and line[COLUMN] != " " for line in rest)
    assert " ".join([first[COLUMN:], *(line.strip() for line in rest)]) == recipe.about


def test_a_recipe_is_shown_as_it_is_written(capsys):
    path = next(path for path in shipped("finetune") if path.stem == "segment_3d")
    for name in ("segment_3d", "finetune/segment_3d"):
        recipes("show", name)
        assert capsys.readouterr().out == path.read_text()


def test_a_name_of_several_verbs_shows_all(capsys):
    recipes("show", "phantom_tiny")
    shown = capsys.readouterr().out
    paths = [path for path in shipped() if path.stem == "phantom_tiny"]
    assert len(paths) == 3
    assert all(path.read_text() in shown for path in paths)


def test_the_schema_is_json_and_knows_the_keys_that_recipes_use(capsys):
    recipes("schema", None)
    schema = json.loads(capsys.readouterr().out)
    assert set(schema) == {"pretrain", "finetune", "benchmark"}
    for path in shipped():
        assert set(yaml.safe_load(path.read_text())) <= set(schema[path.parent.name]["properties"])


@pytest.mark.parametrize(
    ("name", "words"),
    [(None, "needs a name"), ("segment_3", "did you mean 'segment_3d'"), ("pretrian/x", "did you mean 'pretrain'")],
)
def test_what_is_not_there_is_said(name, words):
    with pytest.raises(InputError, match=words):
        recipes("show", name)
