"""Inputs of networks: equal to what extraction and fine-tuning decode."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx
from featx.embeddings.workers import Decoder, decode_images
from featx.exploration.image_loading import load_images, open_source
from featx.exploration.network_inputs import N_EPOCHS, N_IMAGES, PLAIN, make_network_inputs, save_inputs
from featx.finetuning.training_rows import PixelRows, augmentation_keys
from featx.networks.backbones import get_backbone
from featx.networks.features import preprocessing_for
from featx.progress import no_progress
from featx.specs.finetuning import AugmentSpec, FinetuneSpec
from tests.conftest import make_images
from tests.recipes import toy_recipe

FINETUNE = {"backbone": "toy", "weights": "none", "seed": 3, "augment": {"flip": True, "rotation_deg": 20}}


@pytest.fixture
def recipe(home: Path) -> Path:
    make_images(home / "images")
    (home / "featx.toml").write_text(toy_recipe(finetune=[FINETUNE]))
    return home / "featx.toml"


def test_inputs_are_those_that_a_training_gets(recipe: Path) -> None:
    images = load_images(open_source(None, recipe), None, no_progress)
    result = make_network_inputs(images, no_progress)
    table = result.tables["network_inputs"]
    network_rows = table[table["network"] == "fine-tuned toy"]
    ids = list(dict.fromkeys(network_rows["id"]))
    assert len(ids) == N_IMAGES
    assert set(network_rows["part"]) == {"train"}
    rows = images.rows(ids)
    digests = images.digests[rows].tolist()
    spec = images.recipe.finetune[0].runs[0]
    preprocessing = preprocessing_for(images.recipe.completed(spec.request), get_backbone("toy").preprocessing)
    decoder = Decoder(images.recipe.decoding, (preprocessing,))
    places = list(zip(digests, images.uris[rows], strict=True))
    with closing(decode_images(places, decoder, 1, 4)) as decoded:
        pixels = np.stack([result[0] for _, result, _ in decoded])
    augment = AugmentSpec(**FINETUNE["augment"])  # type: ignore[arg-type]
    batches = PixelRows(pixels, np.arange(len(ids)), augment, augmentation_keys(digests, 3))
    for epoch in range(1, N_EPOCHS + 1):
        files = network_rows.loc[network_rows["view"] == f"epoch {epoch}", "file"]
        expected = batches.batch(np.arange(len(ids)), epoch).numpy()
        assert np.array_equal(np.stack([result.arrays[file] for file in files]), expected)
    plain_files = network_rows.loc[network_rows["view"] == PLAIN, "file"]
    assert np.array_equal(np.stack([result.arrays[file] for file in plain_files]), pixels)


def test_epochs_are_numbered_as_in_a_training(recipe: Path) -> None:
    featx.extract()
    (run,) = featx.finetune(specs=[FinetuneSpec(backbone="toy", weights="none", strategy="all", epochs=N_EPOCHS)])
    log = pd.read_csv(Path(run.path) / "log.csv")
    result = make_network_inputs(load_images(open_source(None, recipe), None, no_progress), no_progress)
    views = result.tables["network_inputs"]["view"].drop_duplicates()
    assert [f"epoch {epoch}" for epoch in log["number"] if epoch] == views[views != PLAIN].tolist()


@pytest.mark.parametrize(
    ("network", "n_notes"),
    [
        ({"strategy": "all"}, 0),
        ({"strategy": "last-block"}, 1),
        ({"strategy": "last-block", "augment": {}}, 0),
        ({"strategy": "last-block", "adversarial": {}}, 0),
    ],
)
def test_views_of_cached_activations_are_said_to_be_others(
    recipe: Path, network: dict[str, object], n_notes: int
) -> None:
    recipe.write_text(toy_recipe(finetune=[FINETUNE | network]))
    result = make_network_inputs(load_images(open_source(None, recipe), None, no_progress), no_progress)
    assert len(result.notes) == n_notes
    assert all("take other views of the same augmentation in turn" in note for note in result.notes)


def test_saved_inputs_are_exact_and_listed(recipe: Path, tmp_path: Path) -> None:
    images = load_images(open_source(None, recipe), None, no_progress)
    result = make_network_inputs(images, no_progress)
    paths = save_inputs(result, tmp_path / "inputs")
    listed_inputs = pd.read_csv(tmp_path / "inputs" / "inputs.csv")
    assert len(listed_inputs) == len(paths) - 1 == N_IMAGES * (2 + N_EPOCHS)
    for file in listed_inputs["file"]:
        assert np.array_equal(np.asarray(Image.open(tmp_path / "inputs" / file)), result.arrays[file])


def test_a_network_that_is_not_trained_yet_is_a_note(home: Path) -> None:
    make_images(home / "images")
    network = {"name": "net", "backbone": "toy", "weights": "none", "target": "class"}
    (home / "featx.toml").write_text(toy_recipe(embedding=[{"backbone": "checkpoint:net"}], finetune=[network]))
    images = load_images(open_source(None, None), None, no_progress)
    result = make_network_inputs(images, no_progress)
    assert len(result.notes) == 1
    assert result.notes[0].startswith("inputs of embedding checkpoint:")
    assert set(result.tables["network_inputs"]["network"]) == {"fine-tuned toy"}


def test_images_that_are_gone_are_left_out(recipe: Path) -> None:
    images = load_images(open_source(None, recipe), None, no_progress)
    for path in Path("images").rglob("*.png"):
        path.unlink()
    result = make_network_inputs(images, no_progress)
    assert len(result.tables["network_inputs"]) == 0
