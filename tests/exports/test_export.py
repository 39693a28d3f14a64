"""ExportedModel models agree with their runs, and changed or untrusted files are not opened.

Modules: artifacts.export_card, artifacts.skops_format.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

import featx
from featx.artifacts import artifact, skops_format
from featx.artifacts.export_card import card_file, read_export_card
from featx.artifacts.header import describe_version_changes, read_header
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import ArtifactError, DataError
from featx.exports.export import ExportedModel
from featx.files.atomic import file_sha256
from featx.heads.head_definition import HeadTask
from featx.registry import HEADS
from featx.study.study import Study
from tests.exports.test_onnx_heads import NEW, fit


@pytest.fixture
def run(toy_home: Path) -> str:
    """The name of a head's run."""
    featx.extract()
    return featx.fit(heads="xgboost", trials=1)[0].run


def test_network_and_head_predict_pixels_like_the_run(run: str) -> None:
    head, full_model = featx.export(run, out="out")
    assert (head.content, full_model.content) == ("head", "full_model")
    for model in (head, full_model):
        assert model.parity.max_abs_difference < 1e-4
        assert model.parity.n == len(Study.open(None).ids("val")) + len(Study.open(None).ids("test"))
        card = read_export_card(Path(model.path))
        assert card.parity == model.parity
        assert card.outputs["predictions"]["names"] == ["dark", "light"]
    pixels = read_export_card(Path(full_model.path)).inputs["pixels"]
    assert pixels["shape"] == ["n", 16, 16, 3]
    assert pixels["resize"] == "crop"


def test_a_finetuned_network_is_exported_whole(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text() + '[[finetune]]\nbackbone = "toy"\nweights = "none"\nepochs = 2\n')
    featx.extract()
    (network,) = featx.finetune()
    (network_model,) = featx.export(network.run, out="out")
    assert network_model.parity.max_abs_difference < 1e-4
    with pytest.raises(DataError, match="is a network; expected '--format onnx', found 'skops'"):
        featx.export(network.run, "skops")


def test_each_of_several_networks_has_an_input(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text() + '[[embedding]]\nbackbone = "deep"\nweights = "none"\npool = "max"\n')
    featx.extract()
    _, full_model = featx.export(featx.fit(heads="logreg", trials=1)[0].run, out="out")
    assert full_model.parity.max_abs_difference < 1e-4
    assert set(read_export_card(Path(full_model.path)).inputs) == {"pixels_1", "pixels_2"}


@pytest.mark.parametrize("file_format", ["skops", "joblib"])
def test_a_copied_head_predicts_like_the_run(run: str, file_format: str) -> None:
    (copy,) = featx.export(run, file_format, out="out")
    study = Study.open(None)
    x = read_embeddings(study, study.ids("val"), locked_embeddings(study)).x
    expected = featx.load(study.folder / run).predict_proba(x)
    shutil.rmtree("runs")
    head = featx.load(copy.path)
    np.testing.assert_array_equal(head.predict_proba(x), expected)
    assert copy.parity.max_abs_difference < 1e-6
    assert head.name == run


def test_a_changed_file_is_refused_before_it_is_opened(run: str) -> None:
    (copy,) = featx.export(run, "joblib", out="out")
    joblib.dump(open, copy.path)
    with pytest.raises(ArtifactError, match="does not match its export card"):
        featx.load(copy.path)
    Path(copy.card).unlink()
    with pytest.raises(ArtifactError, match=r"has no header\.json beside it"):
        featx.load(copy.path)


def test_untrusted_types_are_named_and_not_created(run: str) -> None:
    (copy,) = featx.export(run, "skops", out="out")
    import skops.io

    skops.io.dump({"model": HeadTask(1, 1, 1, 0)}, copy.path)
    _update_sha256(copy)
    with pytest.raises(
        ArtifactError, match=r"holds types that are not trusted: featx\.heads\.head_definition\.HeadTask"
    ):
        featx.load(copy.path)
    Path(copy.path).write_text("no archive")
    _update_sha256(copy)
    with pytest.raises(ArtifactError, match="is not a skops file that can be read"):
        featx.load(copy.path)


def _update_sha256(copy: ExportedModel) -> None:
    """Write the sha256 of the changed file into its export card."""
    card = json.loads(Path(copy.card).read_text())
    Path(copy.card).write_text(json.dumps(card | {"sha256": file_sha256(Path(copy.path))}))


@pytest.mark.parametrize("name", HEADS.names())
def test_all_heads_consist_of_trusted_types(name: str, tmp_path: Path) -> None:
    for target in ("four", "labels", "number"):
        if target == "number" and name in {"logreg", "lda"}:
            continue
        _, model = fit(name, target, "usual")
        skops_format.dump(model, tmp_path / "model.skops")
        copy = skops_format.read(tmp_path / "model.skops")
        np.testing.assert_array_equal(copy.predict(NEW), model.predict(NEW))  # type: ignore[attr-defined]


def test_runs_that_cannot_be_exported_are_reported(run: str) -> None:
    with pytest.raises(DataError, match="there is no format 'onyx'; did you mean 'onnx'"):
        featx.export(run, "onyx")
    with pytest.raises(DataError, match="no finished run is called 'svm'"):
        featx.export("svm")
    featx.fit(heads=["logreg", "rf"])
    (stacking,) = featx.ensemble(methods=["stacking"])
    with pytest.raises(
        DataError, match="combines its members by 'stacking', for which there are no ONNX nodes; .*: export"
    ):
        featx.export(stacking.run)
    with pytest.raises(DataError, match="is an ensemble; expected '--format onnx', found 'skops'"):
        featx.export(stacking.run, "skops")
    featx.load(Study.open(None).folder / run)
    featx.export(run, out="out")
    with pytest.raises(ArtifactError, match=f"is for ONNX Runtime; to use it with featx, load the run '{run}'"):
        featx.load(f"out/{run}.onnx")


class _Command:
    """A pickle that makes a file when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("opened",)


@pytest.mark.parametrize("file_format", ["joblib", "skops", "onnx"])
@pytest.mark.parametrize("name", ["m.skops", "m.onnx", "m.SKOPS", "m.pkl", "m.joblib.gz", "m"])
def test_only_a_file_with_suffix_joblib_is_unpickled(run: str, name: str, file_format: str) -> None:
    (copy,) = featx.export(run, "joblib", out="out")
    model = Path("out", name)
    joblib.dump(_Command(), model)
    card = json.loads(Path(copy.card).read_text())
    fields = {"file_format": file_format, "sha256": file_sha256(model)}
    card_file(model).write_text(json.dumps(card | fields))
    with pytest.raises(ArtifactError, match="it is not opened|is not a skops file|is for ONNX Runtime"):
        featx.load(model)
    assert not Path("opened").exists()


def test_functions_that_unpickle_document_it() -> None:
    for function in (featx.load, featx.predict, featx.export, artifact.load_head, artifact.load_verified):
        assert "runs" in str(function.__doc__), function
        assert "code" in str(function.__doc__), function


def test_comparing_versions_imports_nothing(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evil").mkdir()
    Path("evil/__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(".")
    header = read_header(Study.open(None).folder / run)[1]
    names = ["evil", "evil.sub", ".evil", "", "../evil", "os.path"]
    changes = describe_version_changes(header.model_copy(update={"versions": dict.fromkeys(names, "1")}))
    assert changes.count("(installed: none)") == len(names)
    assert "evil" not in sys.modules
