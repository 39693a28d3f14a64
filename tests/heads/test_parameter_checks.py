"""Wrong parameters of heads get one line that names them, before anything is fitted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import featx
from featx.errors import DataError, RecipeError
from featx.heads.parameter_checks import check_heads
from featx.specs.head import HeadSpec
from featx.specs.recipe import load_recipe
from tests.recipes import toy_recipe


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("xgboost", {"params": {"max_dept": 3}}, r"'max_dept'; did you mean 'max_depth' or 'max_delta_step'\?"),
        ("xgboost", {"params": {"max_depth": -3}}, "params: value -3 for Parameter max_depth should be greater"),
        ("logreg", {"params": {"C": -1.0}}, r"params: The 'C' parameter of LogisticRegression must be .* Got -1.0"),
        (
            "svm",
            {"params": {"scaling": "minmax"}},
            "scaling: found 'minmax', expected one of none, standard, l2, ",
        ),
        ("svm", {"params": {"components": 0.9}}, "params.components: found 0.9, expected a number of components of 1"),
        ("rf", {"params": {"scaling": "l2"}}, "no parameter of head 'rf' is called 'scaling'; known: bootstrap, "),
        ("svm", {"space": {"kernel": ["linear", "pol"]}}, "space: The 'kernel' parameter of SVC must be .* Got 'pol'"),
        ("mlp", {"space": {"hidden_layer_sizes": [[64], "64"]}}, "space: The 'hidden_layer_sizes' .* Got '64'"),
        ("rf", {"space": {"max_depth": [2, 4]}}, "no parameter that is searched is called 'max_depth'; known: max_fea"),
        ("logreg", {"space": {"C": [1.0]}}, r"space.C: found \[1.0\], expected \[low, high\], two numbers with 0 < "),
        ("rf", {"space": {"n_estimators": [9.5, 20]}}, r"space.n_estimators: found \[9.5, 20\], .*two integers"),
        ("svm", {"trials": 0, "params": {"relative_gamma": 1.0}}, "'relative_gamma'; known: |did you mean 'gamma'"),
    ],
)
def test_wrong_parameters_are_named(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        check_heads([HeadSpec(name=name, **fields)], {"y": "classes"})
    assert str(error.value).startswith(f"[[head]] '{name}': ")


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_right_parameters_pass_for_each_kind_of_target(kind: Any) -> None:
    specs = [
        HeadSpec(name="svm", params={"kernel": "linear", "scaling": "none"}, space={"C": [1e-4, 1e2]}),
        HeadSpec(name="xgboost", trials=0, params={"gamma": 1, "n_estimators": 1000}),
        HeadSpec(name="ridge", params={"alpha": 10.0}),
        HeadSpec(name="mlp", params={"hidden_layer_sizes": [64, 32]}),
        # The head does not suit numbers, which is reported where it is fitted.
        HeadSpec(name="lda", params={"solver": "lsqr"}, space={"shrinkage": [0.01, 0.5]}),
    ]
    check_heads(specs, {"y": kind})
    with pytest.raises(RecipeError, match="is called 'kernal'; did you mean 'kernel'"):
        check_heads([*specs, HeadSpec(name="svm", params={"kernal": "rbf"})], {"y": kind})


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"params": {"C": 1.0}, "space": {"C": [1, 2]}}, r"head\[0\]: 'C' is in params and in space"),
        ({"trials": 0, "space": {"C": [1, 2]}}, r"head\[0\]: trials = 0 searches nothing, found space"),
        ({"trials": 0, "embeddings": "search"}, r"trials = 0 searches nothing, found embeddings = 'search'"),
        ({"params": {"C": float("inf")}}, r"head\[0\].params: C: found inf, expected a finite number"),
        ({"space": {"C": []}}, r"head\[0\].space: C: found \[\], expected \[low, high\]"),
        ({"trials": -1}, r"head\[0\].trials: found -1"),
    ],
)
def test_contradictions_are_found_when_the_recipe_is_read(home: Path, head: dict[str, Any], message: str) -> None:
    Path("featx.toml").write_text(toy_recipe(head=[{"name": "logreg"} | head]))
    with pytest.raises(RecipeError, match=message):
        load_recipe()


def test_a_wrong_parameter_stops_a_run_before_extraction(toy_home: Path) -> None:
    Path("featx.toml").write_text(toy_recipe(head=[{"name": "rf", "params": {"n_estimator": 9}}]))
    with pytest.raises(RecipeError, match="did you mean 'n_estimators'"):
        featx.run()
    assert not Path("runs").exists()


def test_parameters_that_an_estimator_refuses_together_are_named(toy_home: Path) -> None:
    featx.extract()
    spec = HeadSpec(name="lda", trials=0, calibration="none", params={"solver": "svd", "shrinkage": 0.5})
    with pytest.raises(DataError, match=r"\[\[head\]\] 'lda' cannot be fitted with .*shrinkage not supported"):
        featx.fit(heads=spec)


def test_a_head_without_a_solution_is_named(toy_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    featx.extract()
    monkeypatch.setattr(LinearDiscriminantAnalysis, "fit", fail)
    with pytest.raises(DataError, match=r"'lda' cannot be fitted to these embeddings: SVD did not converge; leave it"):
        featx.fit(heads=HeadSpec(name="lda", trials=1, folds=3))


def test_a_covariance_is_decomposed_in_double_precision(toy_home: Path) -> None:
    featx.extract()
    (run,) = featx.fit(heads=HeadSpec(name="lda", trials=1, folds=3))
    assert featx.load(run.path).model[-1].coef_.dtype == np.float64
