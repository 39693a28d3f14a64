"""Diagnostics of a finished search, and warnings about its predictions.

Modules: heads.learning_problems.
"""

from pathlib import Path

import numpy as np
import optuna
import pytest

import featx
from featx.heads.learning_problems import PROBLEMS
from featx.heads.search.diagnostics import (
    boundary_warnings,
    describe_space,
    fold_size_warnings,
    parameter_importances,
)
from featx.specs.head import HeadSpec
from featx.tables.target_values import ClassTargets, LabelTargets
from tests.recipes import toy_recipe

SPACE = {
    "C": {"values": [0.1, 1, 10]},
    "gamma": {"low": 0.1, "high": 10.0, "log": True},
    "subsample": {"low": 0.5, "high": 1.0, "log": False},
    "scaling": {"choices": ["none", "l2"]},
}


@pytest.mark.parametrize(
    ("c", "gamma", "subsample", "expected"),
    [
        (1, 1.0, 0.7, []),
        (10, 1.0, 0.7, ["C 10 is the largest"]),
        (0.1, 9.9, 0.7, ["C 0.1 is the smallest", "gamma 9.9 is the largest"]),
        # A share cannot be larger than 1.
        (1, 1.0, 1.0, []),
        (1, 1.0, 0.5, ["subsample 0.5 is the smallest"]),
    ],
)
def test_values_at_the_search_boundary_are_reported(
    c: float, gamma: float, subsample: float, expected: list[str]
) -> None:
    suggested = {"gamma": gamma, "subsample": subsample, "scaling": "l2"}
    run_warnings = boundary_warnings(SPACE, suggested, suggested | {"C": c}, {})
    assert [warning.text.split(" value of ")[0] for warning in run_warnings] == expected


def test_the_most_important_parameter_moves_the_score() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def score(trial: optuna.Trial) -> float:
        return trial.suggest_float("a", 0, 1) + 0.01 * trial.suggest_float("b", 1e-3, 1, log=True)

    study.optimize(score, n_trials=20)
    shares = parameter_importances(study, study.trials, seed=0)
    assert shares["a"] > 0.9 > shares["b"]
    assert parameter_importances(study, study.trials[:3], seed=0) == {}
    assert describe_space(study.trials, "k", (1, 2)) == {
        "a": {"low": 0.0, "high": 1.0, "log": False},
        "b": {"low": 1e-3, "high": 1.0, "log": True},
        "k": {"values": [1, 2]},
    }


def test_predictions_of_one_class_only_are_reported() -> None:
    targets = ClassTargets(("often", "rare"), np.array([0, 0, 0, 1]))
    (warning,) = PROBLEMS[targets.kind].prediction_warnings(targets, np.full((4, 2), [0.7, 0.3]))
    assert warning.flag == "one class"
    assert "every image is predicted as 'often'" in warning.text
    assert PROBLEMS[targets.kind].prediction_warnings(targets, np.array([[0.7, 0.3]] * 3 + [[0.2, 0.8]])) == []


def test_labels_that_are_never_predicted_are_reported() -> None:
    targets = LabelTargets(("hat", "smile"), np.array([[1, 0], [0, 1]]))
    (warning,) = PROBLEMS[targets.kind].prediction_warnings(targets, np.array([[0.9, 0.1], [0.2, 0.3]]))
    assert warning.text.startswith("no image is predicted to have smile;")


def test_classes_with_few_rows_per_fold_are_reported() -> None:
    targets = ClassTargets(("a", "b"), np.array([0] * 100 + [1] * 12))
    (warning,) = fold_size_warnings(targets, 5)
    assert "folds of 'b' (12 in train): scores" in warning.text
    assert fold_size_warnings(targets, 2) == []


def test_warnings_of_a_run_are_shown_in_every_table(toy_home: Path) -> None:
    data = {"source": "images", "labels": {"file": "l.csv"}}
    Path("featx.toml").write_text(toy_recipe(data=data, targets={"class": {"column": "luck"}}))
    rng = np.random.default_rng(0)
    names = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    is_lucky = rng.permutation(np.arange(len(names)) < 8)
    lines = [f"{name},{'yes' if lucky else 'no'}" for name, lucky in zip(names, is_lucky, strict=True)]
    Path("images/l.csv").write_text("\n".join(["path,luck", *lines]) + "\n")
    featx.extract()
    (run,) = featx.fit(heads=HeadSpec(name="knn", trials=1, folds=2))
    assert "few rows" in run.flags
    (comparison,) = featx.evaluate()
    assert comparison.rows[0].flags == run.flags
    assert run.warnings[-1] in Path(featx.report().report).read_text().replace("&#39;", "'")
