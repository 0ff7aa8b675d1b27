from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from finetuning import CLASSIFY, SEGMENT, options, recipe
from PIL import Image

from medssl.build import kinds, parts
from medssl.data.phantom.cases import phantom_cache
from medssl.data.phantom.files import write_ct_dataset
from medssl.data.prepare import prepare
from medssl.data.scan.scan import scan
from medssl.engine import checkpoint
from medssl.finetuning.loop import tune
from medssl.patches import network_input
from medssl.pretraining.loop import train
from medssl.probing import frozen
from medssl.probing.embed import embed
from medssl.recipe import PretrainRecipe, validate
from medssl.types import InputError

PRETRAIN = """
seed: 3
spatial_dims: {dims}
data: {{}}
views: {{size: {size}, preset: {preset}}}
crop: {{kind: random}}
encoder: {{kind: tiny, channels: [4, 8], norm: batch}}
method: {{kind: simsiam, dim: 8, hidden: 8}}
optimizers: {{main: {{kind: adamw, lr: 0.01}}}}
train: {{steps: 2, batch: 2}}
"""


def pretraining(dims, preset, side=16):
    text = PRETRAIN.format(dims=dims, size=[side] * dims, preset=preset)
    return validate(PretrainRecipe, yaml.safe_load(text), "recipe")


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """CT scans as files, their cache, and a pretraining on it."""
    root = tmp_path_factory.mktemp("ct")
    write_ct_dataset(root / "scans", 4, (20, 24, 22), 0)
    scan([root / "scans" / "images"], root / "manifest.csv")
    prepare(root / "manifest.csv", root / "cache", preset="ct", spacing=(2.0, 2.0, 2.0))
    train(pretraining(3, "ct").model_copy(update={"data": data(root / "cache")}), options(root / "run"))
    return root


def data(cache):
    from medssl.recipe import Data

    return Data(cache=str(cache))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """2D images as files, their cache, and a classifier trained on it."""
    root = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    for number in range(5):
        picture = rng.integers(0, 255, (40 + number, 30), dtype=np.uint8)
        Image.fromarray(picture).save(root / "images" / f"{number}.png")
    (root / "table.csv").write_text("id,class\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(5)))
    scan([root / "images"], root / "manifest.csv", table=root / "table.csv")
    prepare(root / "manifest.csv", root / "cache", preset="xray")
    (root / "splits.json").write_text(json.dumps({"train": ["0", "1", "2"], "test": ["3", "4"]}))
    key = str(root / "manifest.key")
    places = {"cache": str(root / "cache"), "splits": str(root / "splits.json"), "key": key, "val": None}
    tune(recipe(CLASSIFY, data=places, train={"steps": 2}), options(root / "run"))
    return root


def by_hand(run, cache, name, size, dense=False):
    """The deepest map of a case: the encoder of the checkpoint on the prepared array, nothing of `probing` used."""
    content = checkpoint.load(checkpoint.find(run))
    weights = {k.removeprefix("encoder."): v for k, v in content["weights"].items() if k.startswith("encoder.")}
    net = kinds.make(
        "encoder", content["recipe"]["encoder"], {"spatial_dims": content["recipe"]["spatial_dims"], "in_channels": 1}
    )
    net.load_state_dict(weights)
    case = cache.cases[name]
    x = network_input(cache.image(name)[:], case.intensity, case.spacing, size, dense)
    with torch.no_grad():
        return net.eval()(x)[-1][0].numpy()


def files(out):
    with out.with_name(f"{out.stem}.files.csv").open() as file:
        return list(csv.DictReader(file))


def test_scans_manifest_and_cache_give_what_the_network_sees(ct, tmp_path):
    """NIfTI files and DICOM folders in 3D, prepared by the checkpoint's own settings."""
    from medssl.data.cache import Cache

    cache = Cache(ct / "cache")
    expected = {name: by_hand(ct / "run", cache, name, (16, 16, 16)).reshape(8, -1).mean(1) for name in cache.ids}
    for given in (ct / "cache", ct / "manifest.csv"):
        found = embed(ct / "run", [given], device="cpu")
        assert sorted(found.ids) == cache.ids
        for name, row in zip(found.ids, found.features, strict=True):
            np.testing.assert_allclose(row, expected[name], atol=1e-5)
    scans = embed(ct / "run", [ct / "scans" / "images"], tmp_path / "f.npz", device="cpu")
    assert len(scans.ids) == len(set(scans.ids)) == len(cache.ids)
    table = np.stack(list(expected.values()))
    assert max(np.abs(table - row).max(1).min() for row in scans.features) < 1e-5  # each is one of them
    assert len({np.abs(table - row).max(1).argmin() for row in scans.features}) == len(table)
    listed = {row["source"].rsplit("/")[-1]: row for row in files(tmp_path / "f.npz")}
    assert {row["id"] for row in listed.values() if row["id"]} == set(scans.ids)
    assert not listed["broken.nii.gz"]["id"]
    assert listed["broken.nii.gz"]["reason"]
    stored = np.load(tmp_path / "f.npz")
    assert stored["ids"].tolist() == scans.ids
    np.testing.assert_array_equal(stored["features"], scans.features)
    assert str(ct) not in str(dict(stored))


def test_a_classifier_is_asked_with_the_images_it_is_trained_on(films):
    from medssl.data.cache import Cache

    cache = Cache(films / "cache")
    found = embed(films / "run", [films / "cache"], pool="mean_std", device="cpu")
    for name, row in zip(found.ids, found.features, strict=True):
        flat = by_hand(films / "run", cache, name, (32, 32)).reshape(8, -1)
        np.testing.assert_allclose(row, [*flat.mean(1), *flat.std(1)], atol=1e-5)
    assert found.names == [f"level1_{part}_{c}" for part in ("mean", "std") for c in range(8)]
    one = embed(films / "run", [films / "images" / "3.png"], pool="mean_std", device="cpu")
    assert min(np.abs(found.features - one.features[0]).max(1)) < 1e-5


def test_a_segmentation_network_sees_images_at_their_own_scale(tmp_path):
    cache = phantom_cache(tmp_path / "cache", 4, (20, 26, 24), 0, "ct")
    tune(recipe(SEGMENT, data={"cache": str(tmp_path / "cache")}, train={"steps": 1}), options(tmp_path / "run"))
    found = embed(tmp_path / "run", [tmp_path / "cache"], dense=True, device="cpu")
    for name, maps in zip(found.ids, found.features, strict=True):
        shape = cache.cases[name].shape
        assert maps.shape == (8, *(-(-(n + n % 2) // 4) for n in shape))
        if not any(n % 2 for n in shape):
            np.testing.assert_allclose(maps, by_hand(tmp_path / "run", cache, name, shape, dense=True), atol=1e-5)
    resized = embed(tmp_path / "run", [tmp_path / "cache"], size=[16, 16, 16], device="cpu")
    expected = [by_hand(tmp_path / "run", cache, name, (16, 16, 16)).reshape(8, -1).mean(1) for name in resized.ids]
    np.testing.assert_allclose(resized.features, expected, atol=1e-5)


def test_dense_maps_are_those_of_the_level(films, tmp_path):
    found = embed(films / "run", [films / "cache"], tmp_path / "maps.npz", dense=True, level=0, device="cpu")
    assert found.features.shape == (5, 4, 16, 16)
    pooled = embed(films / "run", [films / "cache"], level=0, device="cpu")
    np.testing.assert_allclose(found.features.mean((2, 3)), pooled.features, atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npz")["features"], found.features)
    with pytest.raises(InputError, match="do not fit into a table"):
        embed(films / "run", [films / "cache"], tmp_path / "maps.csv", dense=True)


def test_batch_and_order_do_not_matter(films):
    pictures = [films / "images" / f"{n}.png" for n in range(5)]
    whole = embed(films / "run", pictures, pool="all_levels", device="cpu")
    turned = embed(films / "run", pictures[::-1], pool="all_levels", batch=2, device="cpu")
    assert turned.ids == whole.ids[::-1]
    np.testing.assert_allclose(turned.features[::-1], whole.features, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_read_costs_itself(films, tmp_path):
    shutil.copy(films / "images" / "0.png", tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(tmp_path / "flat.png")
    found = embed(films / "run", [tmp_path, tmp_path / "nowhere.png"], tmp_path / "out" / "f.csv", device="cpu")
    assert len(found.ids) == 1
    listed = {row["source"].rsplit("/")[-1]: row for row in files(tmp_path / "out" / "f.csv")}
    assert listed["good.png"]["id"] == found.ids[0]
    assert "constant" in listed["flat.png"]["reason"]
    assert listed["bad.png"]["reason"]
    assert listed["nowhere.png"]["reason"] == "does not exist"
    with (tmp_path / "out" / "f.csv").open() as file:
        [row] = csv.DictReader(file)
    assert row.pop("id") == found.ids[0]
    np.testing.assert_allclose([float(value) for value in row.values()], found.features[0], rtol=1e-6)
    with pytest.raises(InputError, match=r"none of the inputs.*bad\.png"):
        embed(films / "run", [tmp_path / "bad.png"], device="cpu")


def test_the_untrained_network_is_where_a_run_of_that_seed_starts(ct, tmp_path):
    made = pretraining(3, "ct").model_copy(update={"data": data(ct / "cache")})
    torch.manual_seed(made.seed)
    start = parts.pretrain_parts(made, samples=3).pretext.encoder.state_dict()
    found = frozen.load(ct / "run", untrained=True, seed=made.seed).encoder.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in start.items())
    rows = [embed(ct / "run", [ct / "cache"], untrained=True, seed=seed, device="cpu").features for seed in (3, 3, 4)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.abs(rows[0] - rows[2]).max() > 1e-4
    assert np.abs(rows[0] - embed(ct / "run", [ct / "cache"], device="cpu").features).max() > 1e-4


def test_twins_get_ids_of_their_own(films):
    picture = films / "images" / "1.png"
    found = embed(films / "run", [picture, picture], device="cpu")
    assert found.ids == [found.ids[0], f"{found.ids[0]}_2"]
    np.testing.assert_allclose(*found.features, atol=1e-6)


def test_bad_requests_are_refused_in_one_sentence(ct, films, tmp_path):
    with pytest.raises(InputError, match=r"must end in \.npz or \.csv"):
        embed(films / "run", [films / "cache"], tmp_path / "f.txt")
    with pytest.raises(InputError, match="level is 2, but the encoder has levels 0"):
        embed(films / "run", [films / "cache"], level=2)
    with pytest.raises(InputError, match=r"size \[16\] has 1 axes"):
        embed(films / "run", [films / "cache"], size=[16])
    phantom_cache(tmp_path / "other", 4, (20, 20, 20), 0, "ct")
    with pytest.raises(InputError, match=r"prepared differently .*spacing"):
        embed(ct / "run", [tmp_path / "other"])
    with pytest.raises(InputError, match="does not exist"):
        embed(tmp_path / "nothing", [films / "cache"])


def test_an_export_and_a_run_as_an_object_give_the_same(ct, tmp_path):
    import medssl

    medssl.export_weights(ct / "run", tmp_path / "exported")
    before = embed(ct / "run", [ct / "cache"], device="cpu").features
    after = medssl.embed(tmp_path / "exported", medssl.open_cache(ct / "cache"), device="cpu").features
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(before, medssl.embed(medssl.Run(ct / "run"), ct / "cache", device="cpu").features)
