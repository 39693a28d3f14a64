"""Fixed parameters, other ranges of the search, and heads without a search."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC
from xgboost import XGBClassifier

import featx
from featx.heads.head_settings import (
    MACHINE_PARAMS,
    adapted_start,
    inner_estimator,
    make_head,
    searched_parameters,
)
from featx.heads.parameter_checks import check_heads
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.diagnostics import boundary_warnings
from featx.heads.search.regularisation_paths import ParameterPath
from featx.heads.search.search import search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics, SearchResult
from featx.study.run_warnings import RunWarning
from tests.heads.test_heads import digits
from tests.recipes import toy_recipe

TREES = {
    "max_depth": 5,
    "learning_rate": 0.05,
    "n_estimators": 1000,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "gamma": 1,
}


def run_search(spec: HeadSpec, folder: Path) -> SearchResult:
    rows = digits(3, 120)
    return search({"": SearchSpace.of(spec, rows)}, spec, folder / "journal", no_progress)


def learning_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator that influence what it learns, as text, because nan is one of them."""
    return {name: repr(value) for name, value in estimator.get_params().items() if name not in MACHINE_PARAMS}


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("svm", {"kernel": "linear"}, SVC(kernel="linear")),
        ("rf", {"n_estimators": 100}, RandomForestClassifier(n_estimators=100)),
        ("xgboost", TREES, XGBClassifier(**TREES)),
    ],
)
def test_without_trials_the_estimator_has_its_own_defaults(name: str, params: dict[str, Any], expected: Any) -> None:
    spec = HeadSpec(name=name, trials=0, params=params)
    for kind, n_outputs in (("classes", 3), ("labels", 2)):
        pipeline = make_head(spec, (60, 8), kind, n_outputs).build(dict(spec.params))  # type: ignore[arg-type]
        assert learning_params(inner_estimator(pipeline[-1])) == learning_params(expected)
    assert inner_estimator(pipeline[-1]).get_params().get("random_state") == spec.seed


def test_fixed_parameters_are_not_searched_and_ranges_hold(tmp_path: Path) -> None:
    spec = HeadSpec(
        name="svm", trials=4, folds=3, params={"kernel": "linear"}, space={"C": [1e-3, 1e-2], "scaling": ["l2"]}
    )
    result = run_search(spec, tmp_path)
    assert {trial.params["kernel"] for trial in result.trials} == {"linear"}
    assert {trial.params["scaling"] for trial in result.trials} == {"l2"}
    assert all(1e-3 <= trial.params["C"] <= 1e-2 for trial in result.trials)
    assert result.space["C_linear"] == {"low": 1e-3, "high": 1e-2, "log": True}
    assert "kernel" not in result.space


def test_a_wider_range_of_a_path_continues_its_steps() -> None:
    for name, space, expected in (
        ("logreg", {"C": [1e-6, 1e2]}, (1e-6, 3.16228e-6, 1e-5, 10.0, 31.6228, 1e2)),
        ("rf", {"n_estimators": [10, 300]}, (10, 50, 100, 150, 200, 250, 300)),
    ):
        path = make_head(HeadSpec(name=name, space=space), (200, 8), "classes", 3).path
        assert path is not None
        assert (path.values[:3], path.values[-3:]) == (expected[:3], expected[-3:])
        assert path.predict_path is not None


def test_the_computation_of_a_path_respects_fixed_parameters(tmp_path: Path) -> None:
    rows = digits(3, 120)
    params = {"reg_lambda": 40.0, "n_estimators": 12, "max_depth": 2, "subsample": 1.0, "colsample_bytree": 0.5}
    spec = HeadSpec(name="xgboost", trials=1, folds=3, params=params | {"learning_rate": 0.3})
    space = SearchSpace.of(spec, rows)
    assert space.head.path is not None
    assert space.head.path.predict_path is not None
    result = search({"": space}, spec, tmp_path / "journal", no_progress)
    expected = [
        space.head.build(result.params)
        .fit(rows.x[train], rows.targets.y[train])
        .score(rows.x[held_out], rows.targets.y[held_out])
        for train, held_out in rows.folds(3, spec.seed)
    ]
    np.testing.assert_allclose(result.trials[0].fold_scores, expected)


def test_a_path_that_cannot_respect_a_fixed_parameter_fits_pipelines(tmp_path: Path) -> None:
    for name, params in (("logreg", {"fit_intercept": False}), ("svm", {"kernel": "poly"}), ("svm", {"gamma": "auto"})):
        path = make_head(HeadSpec(name=name, params=params), (120, 64), "classes", 3).path
        assert path is not None
        assert path.predict_path is None
    spec = HeadSpec(name="svm", trials=1, folds=3, params={"kernel": "poly", "degree": 2})
    assert run_search(spec, tmp_path).score > 0.8  # type: ignore[operator]


def test_a_start_outside_the_ranges_is_moved_inside() -> None:
    spec = HeadSpec(name="svm", params={"kernel": "rbf"}, space={"C": [10.0, 20.0], "scaling": ["l2", "pca"]})
    start = {"kernel": "linear", "scaling": "standard", "C": 3.0, "C_linear": 99.0, "relative_gamma": 1.0}
    head = make_head(spec, (120, 64), "classes", 3)
    assert adapted_start(start, head) == {"scaling": "l2", "C": 10.0, "relative_gamma": 1.0}
    linear_head = make_head(spec.model_copy(update={"params": {"kernel": "linear"}}), (120, 64), "classes", 3)
    assert adapted_start(start, linear_head) == {"scaling": "l2", "C_linear": 20.0}


def choices_without_start(name: str) -> dict[str, list[Any]]:
    """Return the choices of a head's parameters except those that its search starts with."""
    head = make_head(HeadSpec(name=name), (120, 64), "classes", 3)
    return {
        parameter: [choice for choice in distribution.choices if choice != head.start[parameter]]
        for parameter, distribution in searched_parameters(head).items()
        if isinstance(distribution, CategoricalDistribution)
    }


@pytest.mark.parametrize(
    ("name", "space"),
    [
        *((name, space) for name in HEADS.names() if (space := choices_without_start(name))),
        ("mlp", {"hidden_layer_sizes": [16, 128]}),
        ("mlp", {"hidden_layer_sizes": [50, 100, 200]}),
        ("mlp", {"hidden_layer_sizes": [[64], [64, 32]]}),
        ("mlp", {"hidden_layer_sizes": [8, [8, 4]]}),
    ],
)
def test_a_search_starts_although_its_choices_lack_the_usual_start(
    name: str, space: dict[str, list[Any]], tmp_path: Path
) -> None:
    spec = HeadSpec(name=name, trials=2, folds=2, space=space)
    check_heads([spec], {"y": "classes"})
    result = run_search(spec, tmp_path)
    assert len(result.trials) + result.n_pruned == 2
    assert run_search(spec, tmp_path).trials == result.trials
    for parameter, choices in space.items():
        assert result.trials[0].params[parameter] == choices[0]
        assert {repr(trial.params[parameter]) for trial in result.trials} <= set(map(repr, choices))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {}) for name in HEADS.names()),
        ("mlp", {"params": {"hidden_layer_sizes": [8, 4], "max_iter": 20}}),
        ("mlp", {"params": {"max_iter": 20}, "space": {"hidden_layer_sizes": [[8, 4], 8, [4, 4, 4]]}}),
        ("lda", {"params": {"shrinkage": "auto"}}),
        ("svm", {"params": {"gamma": "auto"}}),
    ],
)
def test_settings_of_every_head_are_ordered_by_complexity(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    spec = HeadSpec(name=name, trials=3, folds=2, rule="one_se", **fields)
    check_heads([spec], {"y": "classes"})
    assert run_search(spec, tmp_path).score is not None


def test_more_units_in_hidden_layers_are_more_complex() -> None:
    complexity = make_head(HeadSpec(name="mlp"), (120, 64), "classes", 3).complexity
    assert complexity is not None
    sizes: list[Any] = [16, [16, 4], (16, 8), 32]
    assert sorted(sizes, key=lambda size: complexity({"hidden_layer_sizes": size})) == sizes


def test_the_calibrations_of_a_head_with_fixed_parameters_are_known() -> None:
    for name, params in (("svm", {"kernel": "linear"}), ("mlp", {"alpha": 0.1}), ("ridge", {"scaling": "l2"})):
        head = make_head(HeadSpec(name=name, params=params), (120, 64), "labels", 2)
        assert head.allowed_calibrations("labels")[0] == "auto"


def advised_space(warning: RunWarning) -> Any:
    """Return the `space` that a warning tells to set."""
    return tomllib.loads(warning.text[warning.text.index("space = ") :].removesuffix(" in [[head]]"))["space"]


def test_the_next_step_of_a_boundary_warning_is_a_range_that_can_be_set() -> None:
    space = {"C": {"values": [0.1, 1.0, 10.0]}, "max_depth": {"low": 3, "high": 6, "log": False}}
    ranges = list(map(advised_space, boundary_warnings(space, {"max_depth": 6}, {"C": 0.1, "max_depth": 6}, {})))
    assert ranges == [{"C": [0.01, 10.0]}, {"max_depth": [3, 18]}]
    assert HeadSpec(name="xgboost", space=ranges[1]).space == {"max_depth": (3, 18)}


@pytest.mark.parametrize("n_features", [40, 1280])
@pytest.mark.parametrize("name", HEADS.names())
def test_the_advice_at_each_end_of_a_search_space_can_be_followed(name: str, n_features: int) -> None:
    params = searched_parameters(make_head(HeadSpec(name=name), (100, n_features), "classes", 3))
    limits = {"n_neighbors": 50, "components": min(50, n_features)}
    for parameter, searched in params.items():
        if isinstance(searched, CategoricalDistribution):
            continue
        bounds: dict[str, Any]
        if isinstance(searched, ParameterPath):
            low, high, bounds = searched.values[0], searched.values[-1], {"values": searched.values}
        else:
            assert isinstance(searched, FloatDistribution | IntDistribution)
            low, high, bounds = searched.low, searched.high, vars(searched)
        for value in (low, high):
            for warning in boundary_warnings({parameter: bounds}, {parameter: value}, {parameter: value}, limits):
                advice = advised_space(warning)
                assert advice[parameter] != [low, high]
                assert advice[parameter][1] <= limits.get(parameter, np.inf)
                check_heads([HeadSpec(name=name, space=advice)], {"y": "classes"})


@pytest.mark.parametrize(
    ("parameter", "high", "expected"),
    [
        ("colsample_bytree", 0.3, [{"colsample_bytree": [0.03, 1.0]}]),
        ("colsample_bytree", 1.0, []),
        ("n_neighbors", 20, [{"n_neighbors": [1, 34]}]),
    ],
)
def test_the_advice_ends_at_the_largest_possible_value(parameter: str, high: float, expected: list[Any]) -> None:
    space = {parameter: {"low": 1 if isinstance(high, int) else 0.03, "high": high, "log": True}}
    run_warnings = boundary_warnings(space, {parameter: high}, {parameter: high}, {"n_neighbors": 34})
    assert [advised_space(warning) for warning in run_warnings] == expected


def test_a_head_without_trials_and_calibration_is_fitted_once(toy_home: Path) -> None:
    heads = [{"name": "rf", "trials": 0, "calibration": "none", "params": {"n_estimators": 7}}]
    Path("featx.toml").write_text(toy_recipe(head=heads))
    featx.extract()
    (run,) = featx.fit()
    folder = RunFolder(Path(run.path))
    assert isinstance(folder.metrics, HeadMetrics)
    assert (run.n_trials, run.cv_score, run.oof_score, folder.metrics.oof) == (0, None, None, None)
    assert set(folder.predictions.part) == {"val", "test"}
    assert json.loads((folder.path / "spec.json").read_text())["head"]["params"] == {"n_estimators": 7}
    assert not (folder.path / "trials.journal").exists()
    (changed_run,) = featx.fit(heads=HeadSpec(name="rf", trials=0, calibration="none", params={"n_estimators": 8}))
    assert changed_run.run != run.run
    (comparison,) = featx.evaluate()
    assert {row.run for row in comparison.rows} == {run.run, changed_run.run}


def test_without_val_rows_a_head_is_scored_out_of_fold(toy_home: Path) -> None:
    head = {"name": "svm", "trials": 0, "folds": 3, "params": {"kernel": "linear", "scaling": "standard"}}
    Path("featx.toml").write_text(toy_recipe(head=[head], split={"test": 0.25, "val": 0.0}))
    featx.extract()
    (run,) = featx.fit()
    assert (run.cv_score, run.calibration) == (None, "platt")
    assert run.oof_score is not None
    assert run.oof_score > 0.8
