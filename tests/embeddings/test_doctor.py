"""The doctor describes the machine, and compares runtimes and precisions on a recipe's images."""

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

    document = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)

    assert document["machine"]["featx"] == featx.doctor().machine[1][1]
    assert document["machine"]["runtimes"].startswith("torch")
    assert document["precision_checks"] == []


def test_precisions_need_an_extraction(recipe: Path) -> None:
    with pytest.raises(IncompleteError, match="featx extract"):
        featx.doctor(recipe, precision=True)


def test_every_runtime_is_compared_with_eager_torch(recipe: Path) -> None:
    featx.extract(recipe)

    diagnosis = featx.doctor(recipe, precision=True)
    by_name = {check.runtime: check for check in diagnosis.precision_checks}

    assert {"torch", "onnx", "openvino"} <= set(by_name)
    for name in ("torch", "onnx", "openvino"):
        assert by_name[name].is_accepted
        assert by_name[name].deviation.cosine >= 1 - 1e-9
        assert by_name[name].deviation.n_images == diagnosis.n_images > 0
    for check in diagnosis.precision_checks:
        assert check.images_per_s > 0
        if check.runtime not in {"torch", "onnx", "openvino"}:
            assert check.is_accepted == (check.deviation.min_cosine >= 0.999)
