"""What is said when a search is over."""

from pathlib import Path

import numpy as np
import optuna
import pytest

import featx
from featx.heads.search.diagnostics import at_edges, importances, in_answers, in_folds, searched
from featx.specs.head import HeadSpec
from featx.tables.target_values import TargetValues
from tests.heads.test_heads import TOY_RECIPE

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
        (1, 1.0, 1.0, []),  # no share is larger than all
        (1, 1.0, 0.5, ["subsample 0.5 is the smallest"]),
    ],
)
def test_a_value_at_the_edge_of_what_was_tried_is_named(
    c: float, gamma: float, subsample: float, expected: list[str]
) -> None:
    suggested = {"gamma": gamma, "subsample": subsample, "scaling": "l2"}
    found = at_edges(SPACE, suggested, suggested | {"C": c})
    assert [one.text.split(" that ")[0] for one in found] == expected


def test_what_matters_is_what_moves_the_score() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def score(trial: optuna.Trial) -> float:
        return trial.suggest_float("a", 0, 1) + 0.01 * trial.suggest_float("b", 1e-3, 1, log=True)

    study.optimize(score, n_trials=20)
    found = importances(study, study.trials, seed=0)
    assert found["a"] > 0.9 > found["b"]
    assert importances(study, study.trials[:3], seed=0) == {}
    assert searched(study.trials, "k", (1, 2)) == {
        "a": {"low": 0.0, "high": 1.0, "log": False},
        "b": {"low": 1e-3, "high": 1.0, "log": True},
        "k": {"values": [1, 2]},
    }


def test_answers_that_are_all_one_class_are_marked() -> None:
    facts = TargetValues("classes", ("often", "rare"), np.array([0, 0, 0, 1]))
    (found,) = in_answers(facts, np.full((4, 2), [0.7, 0.3]))
    assert found.mark == "one class"
    assert "every image is taken for 'often'" in found.text
    assert in_answers(facts, np.array([[0.7, 0.3]] * 3 + [[0.2, 0.8]])) == []
    labels = TargetValues("labels", ("hat", "smile"), np.array([[1, 0], [0, 1]]))
    (found,) = in_answers(labels, np.array([[0.9, 0.1], [0.2, 0.3]]))
    assert found.text.startswith("smile: no image is said to have it")


def test_classes_of_which_folds_hold_few_rows_are_named() -> None:
    facts = TargetValues("classes", ("a", "b"), np.array([0] * 100 + [1] * 12))
    (found,) = in_folds(facts, 5)
    assert "in train of 'b' 12" in found.text
    assert in_folds(facts, 2) == []


def test_a_head_that_learnt_nothing_is_marked_in_every_table(toy_home: Path) -> None:
    Path("featx.toml").write_text(
        TOY_RECIPE.replace('"class"', '"luck"').replace("source", "labels = { file = 'l.csv' }\nsource")
    )
    rng = np.random.default_rng(0)
    names = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    lucky = rng.permutation(np.arange(len(names)) < 8)
    rows = [f"{name},{'yes' if luck else 'no'}" for name, luck in zip(names, lucky, strict=True)]
    Path("images/l.csv").write_text("\n".join(["path,luck", *rows]) + "\n")
    featx.extract()
    (run,) = featx.fit(heads=HeadSpec(name="knn", trials=1, folds=2))
    assert "few rows" in run.marks
    (found,) = featx.evaluate()
    assert found.rows[0].marks == run.marks
    assert run.findings[-1] in featx.report().read_text().replace("&#39;", "'")
