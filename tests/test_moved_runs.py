"""Runs that are moved to another folder find their weights by file name and sha256."""

from pathlib import Path

import numpy as np
import pytest
import torch

import featx
from featx.artifacts.header import read_header
from featx.errors import WeightsError
from featx.networks.backbones import get_backbone
from tests.conftest import TOY_RECIPE, make_images

IMAGE = "images/dark/000.png"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a head's run on a network with weights from a file, in a folder that was renamed."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    monkeypatch.chdir(first)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    make_images(first / "images")
    torch.manual_seed(1)
    torch.save(get_backbone("toy").build().state_dict(), "net.pth")
    Path("featx.toml").write_text(TOY_RECIPE.replace('weights = "none"', 'weights = "net.pth"'))
    featx.extract()
    name = featx.fit(heads="logreg", trials=1)[0].run
    featx.export(name, "skops", out="out")
    np.save("expected.npy", featx.load(Path("runs/featx", name)).predict_images([IMAGE]).proba)
    monkeypatch.chdir(tmp_path)
    first.rename(second)
    monkeypatch.chdir(second)
    return name


def model_paths(run: str) -> list[Path]:
    """Return the paths of a run and of its export."""
    return [Path("runs/featx", run), Path("out", f"{run}.skops")]


def test_headers_and_cards_name_weights_without_folders(run: str) -> None:
    for path in (Path("runs/featx", run, "header.json"), Path("out", f"{run}.skops.json")):
        assert "first" not in path.read_text()
    (embedding,) = read_header(Path("runs/featx", run))[1].embeddings
    assert embedding.request.weights == "net.pth"
    assert len(embedding.spec.weights_sha256) == 64


@pytest.mark.parametrize("folder", [".", "weights", "nets", "torch/hub/checkpoints"])
def test_weights_are_found_in_each_folder_that_is_searched(
    run: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_WEIGHTS", "/no/such/folder:nets")
    target = tmp_path / folder if folder.startswith("torch") else Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    content = Path("net.pth").read_bytes()
    Path("net.pth").write_bytes(b"another file of this name")
    (target / "net.pth").write_bytes(content)
    for path in model_paths(run):
        prediction = featx.load(path).predict_images([IMAGE])
        np.testing.assert_allclose(prediction.proba, np.load("expected.npy"), atol=1e-6)


@pytest.mark.parametrize("decoy", [None, b"another file of this name"])
def test_missing_weights_are_reported_with_the_searched_folders(run: str, decoy: bytes | None) -> None:
    Path("net.pth").unlink()
    if decoy:
        Path("net.pth").write_bytes(decoy)
    for path in model_paths(run):
        model = featx.load(path)
        sha256 = model.embeddings[0].spec.weights_sha256
        with pytest.raises(WeightsError, match=f"weights net.pth .sha256 {sha256}.: not found") as error_info:
            model.predict_images([IMAGE])
        for expected in (Path.cwd(), Path.cwd() / "weights", "$FEATX_WEIGHTS", *(["another file"] if decoy else [])):
            assert str(expected) in str(error_info.value)


@pytest.mark.parametrize("file_format", ["skops", "joblib", "onnx"])
def test_a_moved_study_is_exported_without_new_extraction(run: str, file_format: str) -> None:
    assert featx.extract().n_embedded == 0
    exported_models = featx.export(run, file_format, out="again")
    assert all(model.parity.max_abs_difference < 1e-4 for model in exported_models)


def test_weights_outside_the_study_are_found_by_their_full_path(run: str, tmp_path: Path) -> None:
    Path("net.pth").rename(tmp_path / "far.pth")
    recipe = Path("featx.toml")
    recipe.write_text(recipe.read_text().replace("net.pth", str(tmp_path / "far.pth")))
    featx.extract()
    (result,) = featx.fit(heads="logreg", trials=1, force=True)
    assert featx.load(result.path).predict_images([IMAGE]).images == [IMAGE]
