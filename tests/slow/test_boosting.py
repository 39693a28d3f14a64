"""Number of boosting rounds: chosen by the metric of the search, over many seeds with rare labels."""

import numpy as np
import pytest
import xgboost as xgb
from sklearn.metrics import average_precision_score

from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.heads.search.cross_validation import CrossValidation, SearchSpace
from featx.heads.search.distributed_search import SingleTrialRecorder
from featx.heads.search.fold_cache import SharedArrays
from featx.heads.search.journal import create_study
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.target_values import LabelTargets

SEEDS = range(20)
N_ROWS, N_FEATURES, N_NEW = 1000, 12, 10_000
ERROR_PATIENCE = 100
TRIAL = {"max_depth": 4, "learning_rate": 0.1, "subsample": 1.0, "colsample_bytree": 1.0}


def draw_rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n rows with two labels of about 3 % each that depend on products of features."""
    x = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
    scores = [
        x[:, first] * x[:, first + 1] + x[:, first + 2] * x[:, first + 3] + 0.5 * x[:, 8:12].sum(1) for first in (0, 4)
    ]
    return x, (np.stack(scores, axis=1) + 0.3 * rng.normal(size=(n, 2)) > 3.5).astype(np.int64)


def rounds_by_error(rows: TrainRows, params: dict[str, float]) -> int:
    """Return the number of rounds at which early stopping by the 0/1 error ends, as the median of five folds."""
    n_rounds = []
    for train_rows, test_rows in rows.folds(5, 0):
        matrices = [xgb.DMatrix(rows.x[fold_rows], rows.targets.y[fold_rows]) for fold_rows in (train_rows, test_rows)]
        booster = xgb.train(
            params | {"objective": "binary:logistic", "eval_metric": "error", "max_bin": 64, "nthread": 1},
            matrices[0],
            400,
            evals=[(matrices[1], "test")],
            early_stopping_rounds=ERROR_PATIENCE,
            verbose_eval=False,
        )
        n_rounds.append(booster.num_boosted_rounds())
    return int(np.median(n_rounds))


def mean_precision(rows: TrainRows, head: Head, params: dict[str, float]) -> float:
    """Return the mean average precision over five folds of models that are fitted separately with these parameters."""
    precisions = []
    for train_rows, test_rows in rows.folds(5, 0):
        model = head.build(params).fit(rows.x[train_rows], rows.targets.y[train_rows])
        precisions.append(average_precision_score(rows.targets.y[test_rows], model.predict_proba(rows.x[test_rows])))
    return float(np.mean(precisions))


@pytest.mark.slow
def test_scores_belong_to_the_reported_number_of_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    """The chosen rounds need not be better: on these data about 140 are enough, and the choice by folds is noisy."""
    table = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        x, y = draw_rows(rng, N_ROWS)
        new_x, new_y = draw_rows(rng, N_NEW)
        rows = TrainRows(x, LabelTargets(("first", "second"), y))
        head: Head = HEADS.get("xgboost")(HeadTask(*x.shape, 2, 0, "labels"))
        study, recorder = create_study(None, "xgboost"), SingleTrialRecorder([])
        study.enqueue_trial(TRIAL)
        spec = HeadSpec(name="xgboost", metric="average_precision")
        CrossValidation("x", SearchSpace(head, rows), spec, SharedArrays(1e9)).run(study.ask(), recorder)

        path, chosen_rounds = recorder.attributes["path"], recorder.attributes["params"]["n_estimators"]
        max_rounds = max(map(int, path))
        refitted_score = mean_precision(rows, head, TRIAL | {"n_estimators": max_rounds})
        rounds = (rounds_by_error(rows, TRIAL), chosen_rounds)
        models = [head.build(TRIAL | {"n_estimators": n}).fit(x, y) for n in rounds]
        precision_by_error, precision_of_choice = (
            float(average_precision_score(new_y, model.predict_proba(new_x))) for model in models
        )
        table.append(
            (
                seed,
                y.mean(),
                max_rounds,
                path[str(max_rounds)],
                refitted_score,
                rounds[0],
                precision_by_error,
                rounds[1],
                precision_of_choice,
            )
        )
    with capsys.disabled():
        print("\nseed  share  last rounds tried: score, refitted      stop by error: rounds, AP   chosen: rounds, AP")
        for row in table:
            print("{:4}  {:.3f}  {:17d} {:7.4f} {:13.4f} {:18d} {:8.4f} {:15d} {:7.4f}".format(*row))
        means = np.mean(table, axis=0)
        print(f"means of new rows: stop by error {means[6]:.4f}, chosen {means[8]:.4f}")
    scores, refitted_scores = (np.array([row[column] for row in table]) for column in (3, 4))
    np.testing.assert_allclose(scores, refitted_scores, atol=1e-3)
