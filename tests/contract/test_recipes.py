"""Every shipped recipe, found from disk: it fits as it is, and in miniature it runs, stops and goes on exactly."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import medssl
from medssl.benchmarking import grid
from medssl.benchmarking import loop as benchmarking
from medssl.build import finetune_setup, parts
from medssl.data.phantom.cases import phantom_cache
from medssl.finetuning import loop as finetuning
from medssl.pretraining import loop as pretraining
from medssl.recipe import load, parse, shipped
from medssl.testing import small
from medssl.types import Interrupted

torch.set_num_threads(1)

FOUND = sorted((Path(medssl.__file__).parents[1] / "recipes").rglob("*.yaml"))
NEEDED = {
    "pretrain": {"dira", "dira_2d", "dira_paper", "dira_repo", "dira_adco_ccrop_3d", "dira_mocov2_2d", "phantom_tiny"},
    "finetune": {"segment_3d", "classify_2d", "phantom_tiny"},
    "benchmark": {"phantom_tiny"},
}
SIDE = 16  # the smallest view in which the four levels of the tiny encoder differ in size
STEPS = 2
SMALL = [f"train.steps={STEPS}", "train.batch=2", "train.accumulate=1", "train.precision=32", "encoder={kind: tiny}"]
SMALL += ["train.log_every=1", "data.workers=0", "data.phantom=null", "device=cpu"]


def of(verb: str) -> list[str]:
    return [path.stem for path in FOUND if path.parent.name == verb]


PROBES = [name for name in of("finetune") if load("finetune", name, [])[0].task["kind"] == "probe"]


def test_the_recipes_are_those_on_disk():
    assert shipped() == FOUND
    assert {path.parent.name for path in FOUND} == set(NEEDED)
    assert all(set(of(verb)) >= names for verb, names in NEEDED.items())
    assert len(FOUND) == sum(len(of(verb)) for verb in NEEDED) >= 7


def test_adcos_multi_crop_has_the_published_sizes_and_scales():
    recipe, _ = load("pretrain", "adco_multicrop_2d", [])
    scales = [[0.2, 1.0], [0.2, 1.0], [0.172, 0.86], [0.143, 0.715], [0.114, 0.571], [0.086, 0.429]]
    assert recipe.views["size"] == [[side] * 2 for side in (224, 224, 192, 160, 128, 96)]
    assert recipe.crop["scale"] == scales


def test_contrastive_crop_as_published_has_no_guard():
    crop = parts.resolved(load("pretrain", "contrastive_crop_paper_2d", [])[0])["crop"]
    assert [crop[key] for key in ("level", "box_upper", "min_side", "percentile")] == ["deepest", "index", 0.0, None]
    assert [crop[key] for key in ("scale", "alpha", "threshold", "start", "every")] == [[0.2, 1.0], 0.6, 0.1, 0.2, 0.2]


@pytest.mark.parametrize("name", ["mae", "models_genesis"])
def test_a_baseline_of_restoration_undoes_its_corruption_alone_and_its_page_says_so(name):
    recipe, _ = load("pretrain", f"{name}_tiny_3d", [])
    page = (Path(medssl.__file__).parents[1] / "docs" / "methods" / f"{name}.md").read_text()
    shown = parse(page.split("```yaml")[1].split("```")[0], name)
    content = parts.resolved(recipe)
    assert content["views"]["intensity"] == []
    assert shown["method"] is shown["adversary"] is content["method"] is content["adversary"] is None
    for group in ("views", "restore"):
        assert shown[group].items() <= content[group].items()
    assert shown["optimizers"]["main"].items() <= content["optimizers"]["main"].items()


@pytest.fixture(scope="module")
def cache_of(tmp_path_factory):
    """(preset, dimensions) -> a cache of phantoms, made once."""
    made = {}

    def cache(preset: str, dims: int) -> Path:
        if (preset, dims) not in made:
            made[preset, dims] = tmp_path_factory.mktemp("phantoms") / "cache"
            phantom_cache(made[preset, dims], 8, (20,) * dims, 0, preset)  # both classes in the test
        return made[preset, dims]

    return cache


@pytest.fixture
def stop_after_one_step(monkeypatch):
    """Ask a run to stop as soon as a step is done, as a scheduler's signal does."""

    @contextmanager
    def asked(*_):
        yield lambda: True

    @contextmanager
    def not_asked(*_):
        yield lambda: False

    def set_to(room, stop: bool) -> None:
        monkeypatch.setattr(room, "stop_requests", asked if stop else not_asked)

    return set_to


def logged(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: v for name, v in line.items() if name not in ("time", "data_wait", "memory")} for line in lines]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)["weights"]


def check_resume(verb, room, start, name, overrides, tmp_path, stop_after_one_step) -> list[dict[str, float]]:
    """Run straight; run, stop after a step, and go on: metrics and weights are equal bit for bit."""
    stop_after_one_step(room, False)
    start(*load(verb, name, [*overrides, f"out={tmp_path / 'straight'}"]))
    stop_after_one_step(room, True)
    with pytest.raises(Interrupted):
        start(*load(verb, name, [*overrides, f"out={tmp_path / 'resumed'}"]))
    stop_after_one_step(room, False)
    start(*load(verb, name, [*overrides, f"out={tmp_path / 'resumed'}", "resume=true"]))
    straight, resumed = logged(tmp_path / "straight"), logged(tmp_path / "resumed")
    assert [line["step"] for line in straight] == list(range(1, STEPS + 1))
    assert straight == resumed
    one, other = weights(tmp_path / "straight"), weights(tmp_path / "resumed")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    return straight


@pytest.mark.parametrize("name", of("pretrain"))
def test_a_pretraining_recipe_fits_as_it_is(name):
    recipe, _ = load("pretrain", name, [])
    parts.validate(recipe)
    resolved = parts.resolved(recipe)
    for group in ("views", "crop", "encoder"):
        assert set(getattr(recipe, group)) <= set(resolved[group])
    with torch.device("meta"):
        pretext = parts.pretrain_parts(recipe).pretext
    assert {parameter.device.type for parameter in pretext.parameters()} == {"meta"}
    players = {"main"} | ({"bank"} & set(recipe.optimizers)) | ({"discriminator"} if recipe.adversary else set())
    assert set(recipe.optimizers) == players


@pytest.mark.parametrize("name", of("pretrain"))
def test_a_pretraining_recipe_runs_and_goes_on(name, cache_of, tmp_path, stop_after_one_step):
    recipe, _ = load("pretrain", name, [])
    dims = recipe.spatial_dims
    cache = cache_of(parts.resolved(recipe)["views"]["preset"], dims)
    overrides = [*SMALL, f"views.size={[SIDE] * dims}", f"data.cache={cache}", "train.checkpoint_every=1"]
    if recipe.method:
        overrides += [f"method.{k}={v}" for k, v in small(parts.resolve("method", recipe.method["kind"]).build).items()]
    bank = ["method.negatives=2"] if "bank" in recipe.optimizers else []  # filled by one step, so that it plays as well
    overrides += bank
    overrides += ["adversary.start=1"] if recipe.adversary else []  # late shares of two steps round to their end
    lines = check_resume("pretrain", pretraining, pretraining.train, name, overrides, tmp_path, stop_after_one_step)
    expected = {"discrimination"} if recipe.method else set()
    expected |= {"restoration"} if recipe.restore else set()
    expected |= {"adversarial", "discriminator"} if recipe.adversary else set()
    expected |= {"bank"} if bank else set()
    losses = {key.removeprefix("loss.") for key in lines[-1] if key.startswith("loss.")}
    assert losses == expected, "all stages are reached by the end"


@pytest.mark.parametrize("name", of("finetune"))
def test_a_finetuning_recipe_fits_as_it_is(name):
    recipe, _ = load("finetune", name, [])
    made = finetune_setup.check(recipe)
    assert made.module.__name__ == f"medssl.tasks.{recipe.task['kind']}"
    assert made.augment.size == tuple(recipe.augment["size"])
    assert set(recipe.optimizers) == (set() if name in PROBES else {"main"})


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_says_the_same_each_time(name, cache_of, tmp_path):
    recipe, _ = load("finetune", name, [])
    dims = recipe.spatial_dims
    preset = "ct" if recipe.task["of"] == "labels" else "xray"  # phantoms that have them
    overrides = [f"augment.size={[SIDE] * dims}", f"data.cache={cache_of(preset, dims)}", f"augment.preset={preset}"]
    overrides += ["encoder={kind: tiny}", "task.shots=[1]", "task.draws=2", "device=cpu"]
    for run in ("one", "other"):
        finetuning.finetune(*load("finetune", name, [*overrides, f"out={tmp_path / run}"]))
    one, other = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("one", "other"))
    assert one == other
    assert one["test"]["cases"] >= 1
    assert len({row["network"] for row in one["beside"]}) == 4


@pytest.mark.parametrize("name", [name for name in of("finetune") if name not in PROBES])
def test_a_finetuning_recipe_runs_and_goes_on(name, cache_of, tmp_path, stop_after_one_step):
    recipe, _ = load("finetune", name, [])
    dims = recipe.spatial_dims
    preset = recipe.augment.get("preset", "ct")
    if (preset, recipe.task["kind"]) == ("xray", "segment"):
        preset = "ct"  # phantoms of X-rays have no label volume
    overrides = [*SMALL, f"augment.size={[SIDE] * dims}", "train.checkpoint_every=1"]
    overrides += [f"data.cache={cache_of(preset, dims)}", f"augment.preset={preset}"]
    check_resume("finetune", finetuning, finetuning.finetune, name, overrides, tmp_path, stop_after_one_step)
    one, other = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("straight", "resumed"))
    assert one == other
    assert one["test"]["cases"] >= 1
    assert one["task"] == recipe.task["kind"]


@pytest.mark.parametrize("name", of("benchmark"))
def test_a_benchmark_recipe_runs_in_miniature(name, cache_of, tmp_path):
    recipe, _ = load("benchmark", name, [])
    tasks = {}
    for task, settings in recipe.tasks.items():
        first = grid.settings(recipe, grid.Cell(task, next(iter(recipe.inits)), "1.0", 0), [])
        finetune_setup.check(first)
        preset = first.augment.get("preset", "ct")
        if first.task["kind"] == "segment" and preset == "xray":
            preset = "ct"  # phantoms of X-rays have no label volume
        tasks[task] = preset, first.spatial_dims
        assert set(settings) >= {"recipe"}
    overrides = [f"out={tmp_path / 'run'}", "device=cpu", "seeds=[0]", "fractions=[1.0]", "primary=null"]
    for task, (preset, dims) in tasks.items():
        overrides += [f"tasks.{task}.data.cache={cache_of(preset, dims)}", f"tasks.{task}.data.phantom=null"]
        overrides += [f"tasks.{task}.augment.preset={preset}", f"tasks.{task}.encoder={{kind: tiny}}"]
        overrides += [f"tasks.{task}.train.steps={STEPS}", f"tasks.{task}.train.batch=2"]
        overrides += [f"tasks.{task}.augment.size={[SIDE] * dims}"]
    benchmarking.benchmark(*load("benchmark", name, overrides))
    results = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert len(results) == len(recipe.inits) * len(tasks)
    assert (tmp_path / "run" / "report.html").is_file()
