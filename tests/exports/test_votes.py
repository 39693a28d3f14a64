"""ONNX files of ensembles, and the agreement of predicted labels with the run.

Modules: exports.stored_outputs.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import featx
from featx.artifacts.export_card import read_export_card
from featx.cli.export_output import print_exports
from featx.exports.export import ExportedModel
from featx.exports.stored_outputs import count_other_labels
from tests.conftest import make_images
from tests.printed import unwrapped
from tests.recipes import toy_heads, toy_recipe

METHODS = ("soft", "majority", "convex", "greedy")
NETWORK = {"backbone": "toy", "weights": "none", "epochs": 1, "strategy": "head", "lr": 0.01}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportedModel]:
    """Return the exported ensembles, by method, of two heads (one with class weights) and a network."""
    folder = tmp_path_factory.mktemp("votes")
    make_images(folder / "images", ("light", "middle", "dark"), n_each=12)
    heads = [{**toy_heads("logreg")[0], "class_weight": "balanced"}, *toy_heads("xgboost")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("featx.toml").write_text(
            toy_recipe(head=heads, finetune=[NETWORK], embedding=[{"backbone": "deep", "weights": "none"}])
        )
        featx.extract()
        featx.fit()
        featx.finetune()
        runs = [run.run for run in featx.ensemble(methods=METHODS)]
        files = {name.partition("-")[0]: featx.export(name, out="out")[0] for name in runs}
        for file in files.values():
            Path(file.path).chmod(0o444)
        return {name: _absolute(file, folder) for name, file in files.items()}


def _absolute(file: ExportedModel, folder: Path) -> ExportedModel:
    return ExportedModel(**{**vars(file), "path": str(folder / file.path)})


@pytest.mark.parametrize("method", METHODS)
def test_an_ensemble_in_one_file_predicts_pixels_like_the_run(exported: dict[str, ExportedModel], method: str) -> None:
    file = exported[method]
    assert file.content == "full_model"
    assert file.parity.max_abs_difference < 1e-4
    assert (file.parity.n > 10, file.parity.n_other_labels) == (True, 0)
    card = read_export_card(Path(file.path))
    assert card.outputs["predictions"]["names"] == ["dark", "light", "middle"]
    session = onnxruntime.InferenceSession(file.path)
    pixels = {name: np.zeros((2, *spec["shape"][1:]), dtype=np.uint8) for name, spec in card.inputs.items()}
    (outputs,) = session.run(None, pixels)
    assert outputs.shape == (2, 3)
    np.testing.assert_allclose(outputs.sum(1), 1, atol=1e-6)


def test_rows_with_other_labels_are_counted_and_printed(
    exported: dict[str, ExportedModel], capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported["soft"]
    header = read_export_card(Path(file.path)).header
    expected = np.array([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]])
    swapped_outputs = expected[:, [0, 2, 1]]
    assert count_other_labels(header, swapped_outputs, expected) == 2
    print_exports([file])
    assert f"predicted labels agree with the run for {file.parity.n} of {file.parity.n} rows (100.0%)" in unwrapped(
        capsys.readouterr().out
    )
    parity = file.parity.model_copy(update={"n_other_labels": 2})
    print_exports([ExportedModel(**{**vars(file), "parity": parity})])
    assert "; look at the others before you rely on the file" in unwrapped(capsys.readouterr().out)
