"""Features and files that heads did not hope for."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import featx
from featx.errors import DataError, IncompleteError
from featx.heads.fitting import learnt_in_folds
from featx.heads.folds import TrainRows, check_folds
from featx.heads.search.search import SearchSpace, search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from tests.heads.test_heads import digits, head_for, rows_of

RNG = np.random.default_rng(0)
CODES = np.arange(40) % 2
TOLD = RNG.normal(size=(40, 5)) + 2 * CODES[:, None]
FEATURES = {
    "constant": np.ones((40, 5)),
    "some constant, others twice": np.hstack([np.zeros((40, 3)), TOLD, TOLD]),
    "many more than rows": RNG.normal(size=(40, 1000)) + 0.1 * CODES[:, None],
    "huge": 1e15 * TOLD,
    "tiny": 1e-15 * TOLD,
}


@pytest.mark.parametrize("what", FEATURES)
@pytest.mark.parametrize("name", HEADS.names())
def test_every_head_answers_whatever_the_features_are(name: str, what: str, tmp_path: Path) -> None:
    facts = rows_of(CODES.tolist()).facts
    rows = TrainRows(FEATURES[what].astype(np.float32), facts)
    head, spec = head_for(name, rows), HeadSpec(name=name, trials=1, folds=3)
    found = search({"": SearchSpace(head, rows)}, spec, tmp_path / "journal", no_progress)
    model, unseen = learnt_in_folds(head, found.params, rows, spec)
    for answers in (unseen.answers, model.predict_proba(rows.x)):
        np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)


def test_ten_rows_are_enough_or_too_few() -> None:
    rows = rows_of([0] * 5 + [1] * 5)
    check_folds(rows, HeadSpec(name="logreg"))
    with pytest.raises(DataError, match="class 'rare' has 1 train rows, 5 folds need at least 5"):
        check_folds(rows_of([0] * 9 + [1]), HeadSpec(name="logreg"))


def study_at(journal: Path, name: str = "svm", direction: str = "maximize") -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name=name, direction=direction)


def searched(journal: Path) -> int:
    rows = digits(2, 80)
    spec = HeadSpec(name="svm", trials=2, folds=3)
    found = search({"": SearchSpace(head_for("svm", rows), rows)}, spec, journal, no_progress)
    return len(found.trials) + found.n_pruned


def test_a_study_file_of_another_space_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    study = study_at(journal)
    trial = study.ask()
    trial.suggest_categorical("kernel", ["poly"])
    for name in ("asked", "fold_scores", "params", "embeddings", "path"):
        trial.set_user_attr(name, [])
    study.tell(trial, 0.5)
    with pytest.raises(DataError, match=r"journal is not a search of head 'svm' over today's settings \(.*dynamic"):
        searched(journal)


def test_a_study_file_of_another_tool_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    study = study_at(journal)
    study.tell(study.ask(), 0.5)
    with pytest.raises(DataError, match="its trial 0 does not say what featx's do"):
        searched(journal)
    journal.write_text("no journal\n")
    with pytest.raises(DataError, match=r"is not a search of head 'svm' .*move it away, or say '--force'"):
        searched(journal)


def test_half_a_line_of_a_killed_process_is_no_harm(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert searched(journal) == 2
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 6, "worker')
    assert searched(journal) == 2
    assert journal.read_bytes().startswith(whole)


def test_a_run_whose_model_was_cut_short_is_not_taken_for_made(toy_home: Path) -> None:
    featx.extract()
    runs = featx.fit()
    body = Path(runs[0].path) / "model.joblib"
    body.write_bytes(body.read_bytes()[:-1])
    for again in (featx.fit, featx.ensemble):
        with pytest.raises(IncompleteError, match="model.joblib does not match its header"):
            again()
    assert featx.fit(heads=runs[0].run.split("-")[0], force=True)[0].made
    assert len(featx.ensemble()) == 4
