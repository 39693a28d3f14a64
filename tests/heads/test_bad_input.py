"""Unusual features, and damaged or foreign files."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import featx
from featx.errors import DataError, IncompleteError
from featx.heads.fitting import fit_out_of_fold
from featx.heads.folds import TrainRows, check_folds
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.search import search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import HeadSpec, Metric
from featx.tables.target_values import NumberTargets
from tests.heads.test_heads import digits, head_for, rows_of

RNG = np.random.default_rng(0)
CODES = np.arange(40) % 2
INFORMATIVE = RNG.normal(size=(40, 5)) + 2 * CODES[:, None]
FEATURES = {
    "constant": np.ones((40, 5)),
    "constant and repeated columns": np.hstack([np.zeros((40, 3)), INFORMATIVE, INFORMATIVE]),
    "more columns than rows": RNG.normal(size=(40, 1000)) + 0.1 * CODES[:, None],
    "huge": 1e15 * INFORMATIVE,
    "tiny": 1e-15 * INFORMATIVE,
}


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("name", HEADS.names())
def test_every_head_handles_unusual_features(name: str, features: str, tmp_path: Path) -> None:
    rows = TrainRows(FEATURES[features].astype(np.float32), rows_of(CODES.tolist()).targets)
    head, spec = head_for(name, rows), HeadSpec(name=name, trials=1, folds=3)
    result = search({"": SearchSpace(head, rows)}, spec, tmp_path / "journal", no_progress)
    model, out_of_fold = fit_out_of_fold(head, result.params, rows, spec)
    proba = model.predict_proba(rows.x)
    for outputs in (out_of_fold.outputs, proba):
        np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)
    is_learnt = (proba.argmax(1) == CODES).mean() > 0.95
    # scikit-learn's trees see no difference between values that differ by less than 1e-7.
    assert is_learnt == (features != "constant" and (name, features) != ("rf", "tiny"))
    if features in {"constant and repeated columns", "huge"}:
        assert (out_of_fold.outputs.argmax(1) == CODES).mean() > 0.8
    if features == "constant":
        np.testing.assert_array_equal(proba, proba[[0] * len(proba)])


def test_ten_rows_are_enough_or_too_few() -> None:
    rows = rows_of([0] * 5 + [1] * 5)
    check_folds(rows, HeadSpec(name="logreg"))
    with pytest.raises(DataError, match="class 'rare' has 1 train rows, 5 folds need at least 5"):
        check_folds(rows_of([0] * 9 + [1]), HeadSpec(name="logreg"))


@pytest.mark.parametrize(("metric", "trials"), [("pearson", 2), ("r2", 2), ("mae", 2), ("pearson", 0)])
def test_a_metric_that_a_fold_does_not_define_is_refused(metric: Metric, trials: int) -> None:
    groups = np.repeat(np.arange(5), 20)
    y = groups[:, None] * 1.0
    rows = TrainRows(np.hstack([y, y]).astype(np.float32), NumberTargets(("level",), y), groups=groups)
    spec = HeadSpec(name="ridge", trials=trials, folds=5, metric=metric)
    if metric == "mae" or not trials:
        check_folds(rows, spec)
        return
    with pytest.raises(DataError, match=f"metric '{metric}' of head 'ridge' is not defined on the 20 held-out rows of"):
        check_folds(rows, spec)


@pytest.mark.parametrize("informative_trials", [False, True])
def test_undefined_scores_of_settings_are_not_published(informative_trials: bool, tmp_path: Path) -> None:
    y = RNG.normal(size=(40, 1))
    features = y + 0.1 * RNG.normal(size=(40, 3)) if informative_trials else np.zeros((40, 3))
    rows = TrainRows(features.astype(np.float32), NumberTargets(("level",), y))
    spec = HeadSpec(name="ridge", trials=3, folds=3, metric="pearson")
    result = search({"": SearchSpace.of(spec, rows)}, spec, tmp_path / "journal", no_progress)
    assert (result.score is not None) is informative_trials
    assert "1000000000" not in result.model_dump_json()
    assert len(result.trials) + result.n_pruned == 3


def open_study(journal: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name="svm", direction="maximize")


def run_search(journal: Path) -> int:
    """Return the number of trials of a search with this journal."""
    rows = digits(2, 80)
    spec = HeadSpec(name="svm", trials=2, folds=3)
    result = search({"": SearchSpace(head_for("svm", rows), rows)}, spec, journal, no_progress)
    return len(result.trials) + result.n_pruned


def test_a_journal_of_another_search_space_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    study = open_study(journal)
    trial = study.ask()
    trial.suggest_categorical("kernel", ["poly"])
    for name in ("asked", "fold_scores", "params", "embeddings", "path"):
        trial.set_user_attr(name, [])
    study.tell(trial, 0.5)
    with pytest.raises(
        DataError, match=r"journal is not a search of head 'svm' over the current search space \(.*dynamic"
    ):
        run_search(journal)


def test_a_journal_of_another_program_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    study = open_study(journal)
    study.tell(study.ask(), 0.5)
    with pytest.raises(DataError, match="trial 0 lacks the attributes that featx writes"):
        run_search(journal)
    journal.write_text("no journal\n")
    with pytest.raises(
        DataError, match=r"is not a search of head 'svm' .*move it away, or search again with 'featx fit --force'"
    ):
        run_search(journal)


def test_an_incomplete_line_of_a_killed_process_is_ignored(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert run_search(journal) == 2
    complete = journal.read_bytes()
    journal.write_bytes(complete + b'{"op_code": 6, "worker')
    assert run_search(journal) == 2
    assert journal.read_bytes().startswith(complete)


def test_a_run_with_a_truncated_model_is_refused(toy_home: Path) -> None:
    featx.extract()
    runs = featx.fit()
    body = Path(runs[0].path) / "model.joblib"
    body.write_bytes(body.read_bytes()[:-1])
    for command in (featx.fit, featx.ensemble):
        with pytest.raises(IncompleteError, match="model.joblib does not match its header"):
            command()
    assert featx.fit(heads=runs[0].run.split("-")[0], force=True)[0].is_new
    assert len(featx.ensemble()) == 4
