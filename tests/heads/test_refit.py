"""A finished head's setting is fitted on more rows for deployment, and never scored on rows that it has learnt from.

Modules: cli.fit_command.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
import typer
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

import featx
from featx.artifacts.header import read_header
from featx.cli.fit_command import check_refit_options
from featx.cli.main import app
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, IncompleteError, UnsuitedError
from featx.files.seals import write_sealed
from featx.heads.fit import FitResult
from featx.study.embedding_lock import EMBEDDINGS, LockedEmbedding
from featx.study.run_changes import remove_runs, rename_run
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_recipe

HEADS = [
    {"name": "logreg", "trials": 0, "calibration": "none", "params": {"C": 0.5}},
    {"name": "svm", "trials": 1, "folds": 3},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FitResult]]:
    """Extract a toy study, fit two heads, and return their results by the names of the heads."""
    folder = tmp_path_factory.mktemp("refit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_LOCAL_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        make_images(folder / "images")
        Path("featx.toml").write_text(toy_recipe(head=HEADS))
        featx.extract()
        yield {run.head: run for run in featx.fit()}


def vectors_and_codes(*parts: str) -> tuple[np.ndarray, np.ndarray]:
    open_study = Study.open(None)
    ids = np.concatenate([open_study.ids(part) for part in parts])
    codes = open_study._known("class").take(ids).codes  # type: ignore[union-attr]
    return read_embeddings(open_study, ids, locked_embeddings(open_study)).x, codes


def test_a_refit_has_the_setting_and_the_scores_of_its_run(study: dict[str, FitResult]) -> None:
    source = study["logreg"]
    refit = featx.refit("logreg")
    assert refit.run.startswith("refit-logreg-class-")
    assert (refit.params, refit.val_score, refit.refit_of) == (source.params, source.val_score, source.run)
    assert (refit.flags[0], refit.is_new) == ("refit", True)
    header = read_header(refit.path)[1]
    n_rows = len(Study.open(None).ids("train")) + len(Study.open(None).ids("val"))
    assert header.refit is not None
    assert (header.refit.run, header.refit.parts, header.refit.n_rows) == (source.run, ("train", "val"), n_rows)
    assert header.metrics == read_header(source.path)[1].metrics
    assert (
        f"fitted on {n_rows} rows (train + val) for deployment; the scores are those of {source.run}"
        in (refit.warnings[0])
    )
    x, y = vectors_and_codes("train", "val")
    expected = LogisticRegression(C=0.5, random_state=0).fit(x, y)
    test_x, _ = vectors_and_codes("test")
    np.testing.assert_allclose(featx.load(refit.path).predict_proba(test_x), expected.predict_proba(test_x), rtol=1e-6)
    assert set(RunFolder(Path(refit.path)).predictions.part) == {"fitted", "test"}
    assert not featx.refit(source.run).is_new


def test_a_refit_is_not_compared_but_predicts_by_its_name(study: dict[str, FitResult]) -> None:
    refit = featx.refit("svm")
    assert refit.calibration == "platt"
    (comparison,) = featx.evaluate()
    assert {row.run for row in comparison.rows} == {run.run for run in study.values()}
    assert set(featx.predict(["images/dark/000.png"])) == {run.run for run in study.values()}
    assert set(featx.predict(["images/dark/000.png"], runs=["refit-svm"])) == {refit.run}
    assert refit.run in str(featx.export("refit-svm", "joblib", out="exported")[0].path)
    with pytest.raises(DataError, match=f"{refit.run} is a refit, which is not scored itself"):
        featx.ensemble(members=["svm", "refit-svm"])


def test_a_refit_knows_its_renamed_run_and_outlives_it(toy_home: Path) -> None:
    Path("featx.toml").write_text(toy_recipe(head=HEADS[:1]))
    featx.extract()
    featx.fit()
    refit = featx.refit("logreg")
    (source,) = Study.open(None).runs()
    assert refit.refit_of == source.name
    renamed = rename_run(source, "best")
    assert RunFolder(Path(refit.path)).refit_of == renamed.name
    remove_runs(Study.open(None).runs())
    predictions = featx.predict(["images/dark/000.png"], runs=["refit-logreg"])
    assert {name: prediction.label for name, prediction in predictions.items()} == {refit.run: refit.run}
    assert refit.run in str(featx.export("refit-logreg", "joblib", out="exported")[0].path)
    for command in ("predict images --run refit-logreg --html page.html", "runs ls", "runs show refit-logreg"):
        result = CliRunner().invoke(app, command.split())
        assert (result.exit_code, "refit-logreg" in result.output) == (0, True), result.output


def test_all_rows_open_the_test_split_and_this_is_logged(study: dict[str, FitResult]) -> None:
    n_openings = len(Study.open(None).openings("class"))
    refit = featx.refit("logreg", all_rows=True)
    header = read_header(refit.path)[1]
    assert header.refit is not None
    assert header.refit.parts == ("train", "val", "test")
    openings = Study.open(None).openings("class")
    assert len(openings) == n_openings + 1
    assert openings[-1]["runs"] == [study["logreg"].run]
    assert set(RunFolder(Path(refit.path)).predictions.part) == {"fitted"}
    x, y = vectors_and_codes("train", "val", "test")
    expected = LogisticRegression(C=0.5, random_state=0).fit(x, y)
    np.testing.assert_allclose(featx.load(refit.path).predict_proba(x), expected.predict_proba(x), rtol=1e-6)


def test_runs_that_cannot_be_refitted_are_refused(study: dict[str, FitResult]) -> None:
    (vote,) = featx.ensemble(methods=["soft"])
    with pytest.raises(UnsuitedError, match=f"{vote.run} is of kind 'ensemble'; only heads can be refitted"):
        featx.refit(vote.run)
    with pytest.raises(DataError, match="no finished run is called 'forest'"):
        featx.refit("forest")
    featx.fit(heads="svm", trials=2)
    with pytest.raises(DataError, match="'svm' matches 2 runs: svm-class-"):
        featx.refit("svm")


@pytest.mark.parametrize(
    ("refit", "all_rows", "options", "message"),
    [
        (None, True, {}, "--all-rows needs --refit RUN"),
        ("svm", False, {"--head": ["svm"], "--trials": None}, "leave out --head"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    refit: str | None, all_rows: bool, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        check_refit_options(refit, all_rows, options)


SEARCH_OPTIONS = """
--head svm, --target class, --embedding toy, --trials 0, --nested 0, --timeout 60, --budget 10m,
--scheduler tcp://host:1, --workers-local 4
"""


@pytest.mark.parametrize("option", SEARCH_OPTIONS.strip().split(","))
def test_options_of_a_search_are_refused_beside_a_refit(option: str) -> None:
    result = CliRunner().invoke(app, ["fit", "--refit", "svm", *option.split()])
    assert result.exit_code == 2
    assert f"leave out {option.split()[0]}" in result.output


def test_a_split_without_val_rows_leaves_nothing_to_add(toy_home: Path) -> None:
    Path("featx.toml").write_text(toy_recipe(head=HEADS[1:], split={"test": 0.25, "val": 0.0}))
    featx.extract()
    featx.fit()
    with pytest.raises(
        DataError, match="the split has no val rows; only 'featx fit --refit RUN --all-rows' fits on more rows"
    ):
        featx.refit("svm")


TWO_EMBEDDINGS = [{"backbone": "toy", "weights": "none"}, {"backbone": "deep", "weights": "none"}]


def fit_on_two_embeddings() -> FitResult:
    """Extract two embeddings, and fit one head to both."""
    Path("featx.toml").write_text(toy_recipe(embedding=TWO_EMBEDDINGS, head=HEADS[:1]))
    featx.extract()
    (run,) = featx.fit()
    return run


def write_lock(study: Study, embeddings: Sequence[LockedEmbedding]) -> None:
    """Record these embeddings as those of the last extraction."""
    entries = [embedding.model_dump(mode="json") for embedding in embeddings]
    write_sealed(study.folder / EMBEDDINGS, {"embeddings": entries, "pending": []})


def test_a_refit_uses_embeddings_that_the_recipe_no_longer_names(toy_home: Path) -> None:
    run = fit_on_two_embeddings()
    Path("featx.toml").write_text(toy_recipe(embedding=TWO_EMBEDDINGS[:1], head=HEADS[:1]))
    featx.extract()
    headers = [read_header(path)[1] for path in (run.path, featx.refit("logreg").path)]
    assert headers[0].embeddings == headers[1].embeddings
    study = Study.open(None)
    rmtree(study.store_path(headers[0].embeddings[1].spec))
    with pytest.raises(IncompleteError, match="48 images have no embedding 'deep/.*; add it to the recipe and run"):
        featx.refit("logreg", all_rows=True)
    assert not study.openings("class")


def test_a_lost_embedding_is_named_before_test_is_opened(toy_home: Path) -> None:
    run = fit_on_two_embeddings()
    study = Study.open(None)
    write_lock(study, study.locked[:1])
    message = f"{run.run} was fitted to embedding 'deep/.*', which is not among those extracted .'?toy/.*; add it to"
    for all_rows in (False, True):
        with pytest.raises(IncompleteError, match=message):
            featx.refit("logreg", all_rows=all_rows)
    assert not study.openings("class")


def test_an_embedding_that_was_extracted_again_with_other_weights_is_named(toy_home: Path) -> None:
    run = fit_on_two_embeddings()
    study = Study.open(None)
    first, second = study.locked
    write_lock(study, [first, second.model_copy(update={"spec": second.spec.model_copy(update={"dtype": "float16"})})])
    with pytest.raises(
        IncompleteError, match=f"{run.run} was fitted to embedding 'deep/.*', which has been extracted with other"
    ):
        featx.refit("logreg", all_rows=True)
    assert not study.openings("class")


def test_missing_vectors_are_named_before_test_is_opened(toy_home: Path) -> None:
    fit_on_two_embeddings()
    study = Study.open(None)
    rmtree(study.store_path(study.locked[1].spec))
    with pytest.raises(IncompleteError, match="48 of 48 images have no embedding 'deep/"):
        featx.refit("logreg", all_rows=True)
    assert not study.openings("class")


def test_a_refit_has_the_order_of_features_of_its_run(toy_home: Path) -> None:
    run = fit_on_two_embeddings()
    Path("featx.toml").write_text(toy_recipe(embedding=TWO_EMBEDDINGS[::-1], head=HEADS[:1]))
    featx.extract()
    # The first embedding is another one now, so that the copies among the images have to be searched again.
    refit = featx.refit("logreg")
    assert refit.refit_of == run.run
    headers = [read_header(path)[1] for path in (run.path, refit.path)]
    assert [item.request.backbone for item in headers[1].embeddings] == ["toy", "deep"]
    assert headers[0].embeddings == headers[1].embeddings
    assert headers[1].n_features == headers[0].n_features
