"""How features are scaled before an estimator sees them; which way is part of the search."""

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

Params = dict[str, Any]
FEWEST_COMPONENTS = 16


def unscaled() -> FunctionTransformer:
    """Return a step that changes nothing and, unlike ``"passthrough"``, knows the number of features."""
    return FunctionTransformer(feature_names_out="one-to-one")


WAYS: dict[str, Callable[[Params], Any]] = {
    "none": lambda _: unscaled(),
    "standard": lambda _: StandardScaler(),
    "l2": lambda _: Normalizer(),
    "pca": lambda params: PCA(params["components"], whiten=True, svd_solver=params["solver"]),
}


def suggested(trial: optuna.Trial, ways: Sequence[str], most_components: int) -> Params:
    """Ask a trial how to scale; of few features all principal components are taken.

    The ways are the same however many features there are: a search may stand on several embeddings.
    """
    params: Params = {"scaling": trial.suggest_categorical("scaling", ways)}
    if params["scaling"] == "pca" and most_components > FEWEST_COMPONENTS:
        params["components"] = trial.suggest_int("components", FEWEST_COMPONENTS, most_components, log=True)
    elif params["scaling"] == "pca":
        params["components"] = most_components
    return params


def scaler(params: Params, shape: tuple[int, ...]) -> Any:
    """Return the unfitted step of a Pipeline for rows of a shape (n, d)."""
    n, d = shape
    return WAYS[params["scaling"]](params | {"solver": "covariance_eigh" if d <= n else "full"})


def is_learnt(params: Params) -> bool:
    """Whether a setting's scaling depends on the rows that it has seen."""
    return params.get("scaling") in ("standard", "pca")


def fully_scaled(way: str, shape: tuple[int, ...]) -> Any:
    """Return the same step with as many components as there can be."""
    return scaler({"scaling": way, "components": min(shape)}, shape)
