"""The transformer works in scikit-learn's Pipelines, searches and parallel jobs."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from featx import ImageEmbedder
from tests.embeddings.embedders import BuildCounter, D, embedder, files, n_rows

# Checks of the estimator object alone: all others fit numeric rows, which are no images.
CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
KNOWN_CHECKS = [name for name in CHECKS if hasattr(estimator_checks, name)]


def test_most_of_scikit_learns_checks_exist() -> None:
    assert len(KNOWN_CHECKS) >= 9


@pytest.mark.parametrize("name", KNOWN_CHECKS)
def test_scikit_learns_checks_pass(name: str, home: Path) -> None:
    getattr(estimator_checks, name)("ImageEmbedder", embedder())


def test_features_have_names_after_fit(paths: list[str]) -> None:
    with pytest.raises(NotFittedError, match="This ImageEmbedder instance is not fitted yet"):
        embedder().get_feature_names_out()

    names = embedder().fit(paths).get_feature_names_out()

    assert names.tolist() == [f"imageembedder{number}" for number in range(D)]


def test_output_can_be_a_pandas_dataframe(paths: list[str]) -> None:
    transformer = embedder().set_output(transform="pandas")

    frame = transformer.fit_transform(paths)

    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == transformer.get_feature_names_out().tolist()
    assert frame.to_numpy().tobytes() == embedder().transform(paths).tobytes()
    assert (frame.dtypes == np.float32).all()


def test_the_transformer_is_a_step_of_a_pipeline(paths: list[str]) -> None:
    labels = ["dark"] * 4 + ["light"] * 4

    model = make_pipeline(embedder(), LogisticRegression(C=1e6, max_iter=10_000)).fit(paths[1:], labels[1:])

    assert model.predict(paths).tolist() == labels
    assert model[:-1].get_feature_names_out().tolist() == [f"imageembedder{number}" for number in range(D)]
    restored_model = pickle.loads(pickle.dumps(model))
    assert restored_model.predict_proba(paths).tobytes() == model.predict_proba(paths).tobytes()


def test_a_grid_of_settings_can_be_searched(paths: list[str], build_counter: BuildCounter) -> None:
    labels = [0] * 4 + [1] * 4
    pipeline = make_pipeline(embedder(backbone=build_counter.name), LogisticRegression())
    grid = {"imageembedder__pool": ["avg", "max", "avgmax"], "logisticregression__C": [1.0, 100.0]}

    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(paths, labels)

    assert search.best_params_["imageembedder__pool"] in {"avg", "max", "avgmax"}
    assert len(search.cv_results_["params"]) == 6
    assert len(build_counter.builds) == 3
    assert n_rows(Path("cache")) == 3 * 8


def test_a_grid_may_hold_numpy_numbers(paths: list[str]) -> None:
    grid = {"imageembedder__size_px": np.array([16, 24])}
    pipeline = make_pipeline(embedder(), LogisticRegression())

    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(paths, [0, 1] * 4)

    assert search.best_params_["imageembedder__size_px"] in {16, 24}


@pytest.mark.slow
def test_jobs_in_other_processes_share_the_cache(paths: list[str]) -> None:
    transformer = ImageEmbedder(weights="none", size_px=32, cache=Path("cache").absolute(), workers=1)
    absolute = [str(Path(path).absolute()) for path in paths]
    pipeline = make_pipeline(transformer, LogisticRegression())

    scores = cross_val_score(pipeline, absolute, [0] * 4 + [1] * 4, cv=2, n_jobs=2, error_score="raise")
    halves = Parallel(n_jobs=2)(delayed(transformer.transform)(half) for half in (absolute[:4], absolute[4:]))

    files_before = files(Path("cache"))
    assert scores.shape == (2,)
    assert np.vstack(halves).tobytes() == transformer.transform(paths).tobytes()
    assert files_before
    assert files(Path("cache")) == files_before


def test_importing_the_transformer_does_not_import_torch() -> None:
    code = "import sys; from featx import ImageEmbedder; ImageEmbedder(); print('torch' in sys.modules)"

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output == "False\n"
