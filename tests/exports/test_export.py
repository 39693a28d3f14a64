"""Files for other software: what they answer, what stands beside them, and what is not opened."""

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
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import ArtifactError, DataError
from featx.exports.export import Exported
from featx.files.atomic import sha256_of
from featx.heads.head_definition import HeadTask
from featx.registry import HEADS
from featx.study.study import Study
from tests.exports.test_onnx_heads import NEW, fit


@pytest.fixture
def run(toy_home: Path) -> str:
    """The name of a head's run."""
    featx.extract()
    return featx.fit(heads="xgboost", trials=1)[0].run


def test_network_and_head_answer_pixels_as_the_run_does(run: str) -> None:
    head, whole = featx.export(run, out="out")
    assert (head.what, whole.what) == ("head", "whole")
    for one in (head, whole):
        assert one.parity.largest < 1e-4
        assert one.parity.n == len(Study.open(None).ids("val")) + len(Study.open(None).ids("test"))
        passport = read_export_card(Path(one.path))
        assert passport.parity == one.parity
        assert passport.outputs["answers"]["names"] == ["dark", "light"]
    pixels = read_export_card(Path(whole.path)).inputs["pixels"]
    assert pixels["shape"] == ["n", 16, 16, 3]
    assert pixels["resize"] == "crop"


def test_a_network_of_its_own_is_written_whole(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text() + '[[finetune]]\nbackbone = "toy"\nweights = "none"\nepochs = 2\n')
    featx.extract()
    (network,) = featx.finetune()
    (whole,) = featx.export(network.run, out="out")
    assert whole.parity.largest < 1e-4
    with pytest.raises(DataError, match="is a network; expected '--format onnx', found 'skops'"):
        featx.export(network.run, "skops")


def test_several_networks_have_an_input_each(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text() + '[[embedding]]\nbackbone = "deep"\nweights = "none"\npool = "max"\n')
    featx.extract()
    _, whole = featx.export(featx.fit(heads="logreg", trials=1)[0].run, out="out")
    assert whole.parity.largest < 1e-4
    assert set(read_export_card(Path(whole.path)).inputs) == {"pixels_1", "pixels_2"}


@pytest.mark.parametrize("file_format", ["skops", "joblib"])
def test_a_copied_head_is_loaded_and_answers_as_the_run(run: str, file_format: str) -> None:
    (copy,) = featx.export(run, file_format, out="out")
    study = Study.open(None)
    x = read_embeddings(study, study.ids("val"), locked_embeddings(study)).x
    expected = featx.load(study.folder / run).predict_proba(x)
    shutil.rmtree("runs")
    loaded = featx.load(copy.path)
    np.testing.assert_array_equal(loaded.predict_proba(x), expected)
    assert copy.parity.largest < 1e-6
    assert loaded.name == run


def test_a_changed_file_is_refused_before_it_is_opened(run: str) -> None:
    (copy,) = featx.export(run, "joblib", out="out")
    joblib.dump(open, copy.path)
    with pytest.raises(ArtifactError, match="does not match its passport"):
        featx.load(copy.path)
    Path(copy.passport).unlink()
    with pytest.raises(ArtifactError, match=r"has no header\.json beside it"):
        featx.load(copy.path)


def test_types_that_heads_are_not_made_of_are_named_and_not_built(run: str) -> None:
    (copy,) = featx.export(run, "skops", out="out")
    import skops.io

    skops.io.dump({"model": HeadTask(1, 1, 1, 0)}, copy.path)
    _with_sha256_of(copy)
    with pytest.raises(ArtifactError, match=r"holds types that heads are not made of: featx\.heads\.models\.Task"):
        featx.load(copy.path)
    Path(copy.path).write_text("no archive")
    _with_sha256_of(copy)
    with pytest.raises(ArtifactError, match="is not a skops file that can be read"):
        featx.load(copy.path)


def _with_sha256_of(copy: Exported) -> None:
    """Let a passport speak of the file that stands there now."""
    passport = json.loads(Path(copy.passport).read_text())
    Path(copy.passport).write_text(json.dumps(passport | {"sha256": sha256_of(Path(copy.path))}))


@pytest.mark.parametrize("name", HEADS.names())
def test_all_heads_are_made_of_trusted_types(name: str, tmp_path: Path) -> None:
    for what in ("four", "labels", "number"):
        if what == "number" and name in {"logreg", "lda"}:
            continue
        _, model = fit(name, what, "usual")
        skops_format.dump(model, tmp_path / "model.skops")
        copy = skops_format.read(tmp_path / "model.skops")
        np.testing.assert_array_equal(copy.predict(NEW), model.predict(NEW))  # type: ignore[attr-defined]


def test_what_cannot_be_exported_is_said(run: str) -> None:
    with pytest.raises(DataError, match="there is no format 'onyx'; did you mean 'onnx'"):
        featx.export(run, "onyx")
    with pytest.raises(DataError, match="no finished run is called 'svm'"):
        featx.export("svm")
    featx.fit(heads=["logreg", "rf"])
    (vote,) = featx.ensemble(methods=["soft"])
    with pytest.raises(DataError, match="is a vote over 3 runs; export these one by one"):
        featx.export(vote.run)
    featx.load(Study.open(None).folder / run)
    featx.export(run, out="out")
    with pytest.raises(ArtifactError, match=f"is for ONNX Runtime; to use it with featx, load the run '{run}'"):
        featx.load(f"out/{run}.onnx")


class _Command:
    """A pickle that makes a file when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("opened",)


@pytest.mark.parametrize("stated", ["joblib", "skops", "onnx"])
@pytest.mark.parametrize("name", ["m.skops", "m.onnx", "m.SKOPS", "m.pkl", "m.joblib.gz", "m"])
def test_only_a_file_called_joblib_is_unpickled(run: str, name: str, stated: str) -> None:
    (copy,) = featx.export(run, "joblib", out="out")
    model = Path("out", name)
    joblib.dump(_Command(), model)
    passport = json.loads(Path(copy.passport).read_text())
    fields = {"file_format": stated, "sha256": sha256_of(model)}
    card_file(model).write_text(json.dumps(passport | fields))
    with pytest.raises(ArtifactError, match="it is not opened|is not a skops file|is for ONNX Runtime"):
        featx.load(model)
    assert not Path("opened").exists()


def test_all_that_unpickles_says_so() -> None:
    for function in (featx.load, featx.predict, featx.export, artifact.load_head, artifact.replayed):
        assert "runs" in str(function.__doc__), function
        assert "code" in str(function.__doc__), function


def test_versions_of_a_header_import_nothing(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evil").mkdir()
    Path("evil/__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(".")
    header = artifact.read_header(Study.open(None).folder / run)[1]
    names = ["evil", "evil.sub", ".evil", "", "../evil", "os.path"]
    odd = artifact.differing_versions(header.model_copy(update={"versions": dict.fromkeys(names, "1")}))
    assert odd.count("(here not there)") == len(names)
    assert "evil" not in sys.modules
