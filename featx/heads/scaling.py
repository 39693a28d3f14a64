"""Feature scaling, the first step of every Pipeline; its method is a hyperparameter."""

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

Params = dict[str, Any]
MIN_COMPONENTS = 16


def identity_transformer() -> FunctionTransformer:
    """Return a step that changes nothing and, unlike ``"passthrough"``, knows the number of features."""
    return FunctionTransformer(feature_names_out="one-to-one")


SCALERS: dict[str, Callable[[Params], Any]] = {
    "none": lambda _: identity_transformer(),
    "standard": lambda _: StandardScaler(),
    "l2": lambda _: Normalizer(),
    "standard_l2": lambda _: make_pipeline(StandardScaler(), Normalizer()),
    "pca": lambda params: PCA(params["components"], whiten=True, svd_solver=params["solver"]),
}


def suggest_scaling(trial: optuna.Trial, methods: Sequence[str], max_components: int) -> Params:
    """Suggest a scaling method and, for PCA, the number of components.

    The choices do not depend on the number of features, because a search may compare several embeddings. With few
    features all principal components are taken.
    """
    params: Params = {"scaling": trial.suggest_categorical("scaling", methods)}
    if params["scaling"] == "pca" and max_components > MIN_COMPONENTS:
        params["components"] = trial.suggest_int("components", MIN_COMPONENTS, max_components, log=True)
    elif params["scaling"] == "pca":
        params["components"] = max_components
    return params


def make_scaler(params: Params, shape: tuple[int, ...]) -> Any:
    """Return the unfitted scaling step of a Pipeline for features of shape (n, d)."""
    n, d = shape
    return SCALERS[params["scaling"]](params | {"solver": "covariance_eigh" if d <= n else "full"})


def is_scaling_learnt(params: Params) -> bool:
    """Return whether the scaling of a setting depends on the rows that it is fitted on."""
    return params.get("scaling") in ("standard", "standard_l2", "pca")


def make_full_scaler(method: str, shape: tuple[int, ...]) -> Any:
    """Return the unfitted scaling step with as many components as features of shape (n, d) allow."""
    return make_scaler({"scaling": method, "components": min(shape)}, shape)
