"""Runs on embeddings of reduced precision are exported as they are or refitted in fp32, and the agreement is stated.

Modules: embeddings.fp32_extraction, exports.fp32_refit, exports.onnx_sessions.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import featx
from featx.artifacts.export_card import read_export_card
from featx.cli.export_output import print_exports
from featx.embeddings.fp32_extraction import is_reduced
from featx.errors import DataError, UnsuitedError
from featx.exports.export import ExportedModel
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from tests.printed import unwrapped
from tests.recipes import toy_heads, toy_recipe

EMBEDDINGS = [
    {"backbone": "toy", "weights": "none", "precision": "bf16"},
    {"backbone": "deep", "weights": "none", "pool": "max", "dtype": "float16"},
]


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of a study, and its run of a head on embeddings in bf16 and embeddings stored as float16."""
    folder = tmp_path_factory.mktemp("reduced")
    _make_similar_images(folder / "images")
    extraction = {"runtime": "torch", "device": "cpu", "min_cosine": 0.5}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("featx.toml").write_text(toy_recipe(head=toy_heads("logreg"), embedding=EMBEDDINGS, extraction=extraction))
        featx.extract()
        return folder, featx.fit()[0].run


def _make_similar_images(folder: Path) -> None:
    """Write 60 images of two classes whose brightness overlaps, so that probabilities are not close to 0 and 1."""
    rng = np.random.default_rng(0)
    for code, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number, level in enumerate(rng.normal(100 + 20 * code, 20, 30)):
            pixels = rng.normal(level, 30, (18, 20, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")


@pytest.fixture
def run(reduced: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Change to the folder of the study, and return the name of the run."""
    monkeypatch.chdir(reduced[0])
    return reduced[1]


@pytest.fixture
def refitted(run: str) -> list[ExportedModel]:
    """Return the exported head, and the network and head, of the run's refit in fp32."""
    return featx.export(run, out="faithful", precision="fp32", refit=True)


def test_a_run_in_reduced_precision_states_its_agreement_of_labels(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    head, full_model = featx.export(run, out="as-is")
    assert head.parity.reason == ""
    assert full_model.parity.reason.endswith("the file computes in fp32; export with '--precision fp32 --refit'")
    assert 1e-7 < full_model.parity.max_abs_difference < 0.1
    assert full_model.parity.n_other_labels is not None
    card = read_export_card(Path(full_model.path))
    assert card.parity == full_model.parity
    assert card.source_parity is None
    print_exports([full_model])
    n_equal = full_model.parity.n - full_model.parity.n_other_labels
    assert f"predicted labels agree with the run for {n_equal} of {full_model.parity.n} rows" in unwrapped(
        capsys.readouterr().out
    )


def test_a_refit_in_fp32_is_exported_faithfully(run: str, refitted: list[ExportedModel]) -> None:
    for model in refitted:
        assert model.run.startswith(f"refit-fp32-{run.rpartition('-')[0]}")
        assert model.refit_of == run
        assert model.parity.max_abs_difference < 1e-4
        assert (model.parity.n_other_labels, model.parity.reason) == (0, "")
        card = read_export_card(Path(model.path))
        assert card.source_parity == model.source_parity
        assert card.header.refit is not None
        assert (card.header.refit.run, card.header.refit.parts) == (run, ("train",))
        assert not any(is_reduced(embedding.spec) for embedding in card.header.embeddings)
    session = onnxruntime.InferenceSession(refitted[1].path)
    assert {item.name for item in session.get_inputs()} == {"pixels_1", "pixels_2"}


def test_a_refit_states_its_agreement_with_the_run_on_val(
    run: str, refitted: list[ExportedModel], capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study.open(None)
    ids = study.ids("val")
    run_predictions, refit_predictions = (
        RunFolder(study.folder / name).predictions.take(ids) for name in (run, refitted[1].run)
    )
    parity = refitted[1].source_parity
    assert parity is not None
    assert (parity.rows, parity.n) == ("val", len(ids))
    assert parity.max_abs_difference == pytest.approx(np.abs(refit_predictions.values - run_predictions.values).max())
    assert 1e-7 < parity.max_abs_difference < 0.1
    assert parity.n_other_labels == int((refit_predictions.values.argmax(1) != run_predictions.values.argmax(1)).sum())
    print_exports(refitted[1:])
    n_equal = len(ids) - parity.n_other_labels
    text = f"predicted labels agree with {run} for {n_equal} of {len(ids)} val rows"
    assert text in unwrapped(capsys.readouterr().out)


def test_a_refit_in_fp32_leaves_the_study_as_it_is(run: str, refitted: list[ExportedModel]) -> None:
    study = Study.open(None)
    assert [embedding.request.precision for embedding in study.locked] == ["bf16", "auto"]
    assert [folder.name for folder in study.runs()] == [run]
    metrics = RunFolder(study.folder / refitted[0].run).metrics
    n_train = len(study.ids("train"))
    assert metrics.run_warnings[0].text == (
        f"fitted on {n_train} rows (train) with embeddings in fp32; the scores are those of {run}"
    )
    # The refit exists now: it is neither fitted again nor refitted itself.
    repeated_exports = featx.export(refitted[0].run, out="faithful", precision="fp32", refit=True)
    assert [model.run for model in repeated_exports] == [model.run for model in refitted]
    assert repeated_exports[1].source_parity == refitted[1].source_parity


def test_a_run_in_fp32_is_exported_as_it_is(toy_home: Path) -> None:
    featx.extract()
    run = featx.fit(heads="logreg", trials=1)[0].run
    notes: list[str] = []
    (copy,) = featx.export(
        run, "joblib", precision="fp32", refit=True, progress=lambda _stage, _done, _n, note="": notes.append(note)
    )
    assert (copy.run, copy.refit_of, copy.source_parity) == (run, None, None)
    assert f"the embeddings of {run} are in fp32 already: it is exported without a refit" in notes


def test_precision_and_refit_are_needed_together(run: str) -> None:
    with pytest.raises(DataError, match="has to be fitted again for embeddings in another precision; add '--refit'"):
        featx.export(run, precision="fp32")
    with pytest.raises(DataError, match="add '--precision fp32'"):
        featx.export(run, refit=True)
    with pytest.raises(DataError, match="not exported in precision 'int8'; expected '--precision fp32 --refit'"):
        featx.export(run, precision="int8", refit=True)


def test_refits_and_ensembles_are_not_refitted_in_fp32(run: str) -> None:
    deployed = featx.refit(run).run
    with pytest.raises(DataError, match=f"is itself a refit; export {run} with '--precision fp32 --refit'"):
        featx.export(deployed, precision="fp32", refit=True)
    featx.fit(heads="lda", trials=1)
    (ensemble,) = featx.ensemble(methods=["soft"])
    with pytest.raises(UnsuitedError, match="is of kind 'ensemble'; only heads can be refitted"):
        featx.export(ensemble.run, precision="fp32", refit=True)
