"""What a machine has, and how its runtimes and precisions compare on a recipe's images."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.errors import IncompleteError
from tests.conftest import TOY_RECIPE, make_images


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images")
    file = tmp_path / "featx.toml"
    file.write_text(TOY_RECIPE)
    return file


def test_the_machine_is_described_without_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    said = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)

    assert said["machine"]["featx"] == featx.doctor().machine[1][1]
    assert said["machine"]["runtimes"].startswith("torch")
    assert said["checkups"] == []


def test_precisions_need_an_extraction(recipe: Path) -> None:
    with pytest.raises(IncompleteError, match="featx extract"):
        featx.doctor(recipe, precision=True)


def test_every_runtime_is_compared_with_eager_torch(recipe: Path) -> None:
    featx.extract(recipe)

    found = featx.doctor(recipe, precision=True)
    by_name = {one.how: one for one in found.checkups}

    assert {"torch", "onnx", "openvino"} <= set(by_name)
    for name in ("torch", "onnx", "openvino"):
        assert by_name[name].is_trusted
        assert by_name[name].drift.cosine >= 1 - 1e-9
        assert by_name[name].drift.n_images == found.n_images > 0
    for one in found.checkups:
        assert one.images_per_s > 0
        if one.how not in {"torch", "onnx", "openvino"}:
            assert one.is_trusted == (one.drift.least_cosine >= 0.999)
