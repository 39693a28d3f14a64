"""Feature scaling, the first step of every Pipeline; its method is a hyperparameter."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler, normalize

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
    "pca_l2": lambda params: make_pipeline(
        StandardScaler(), PCA(params["components"], svd_solver=params["solver"]), Normalizer()
    ),
}
# Methods whose number of components is a parameter.
WITH_COMPONENTS = ("pca", "pca_l2")


def suggest_scaling(trial: optuna.Trial, methods: Sequence[str], max_components: int) -> Params:
    """Suggest a scaling method and, for PCA, the number of components.

    The choices do not depend on the number of features, because a search may compare several embeddings. With few
    features all principal components are taken.
    """
    params: Params = {"scaling": trial.suggest_categorical("scaling", methods)}
    if params["scaling"] not in WITH_COMPONENTS:
        return params
    min_components = min(MIN_COMPONENTS, max_components)
    return params | {"components": trial.suggest_int("components", min_components, max_components, log=True)}


def make_scaler(params: Params, shape: tuple[int, ...]) -> Any:
    """Return the unfitted scaling step of a Pipeline for features of shape (n, d)."""
    n, d = shape
    return SCALERS[params["scaling"]](params | {"solver": "covariance_eigh" if d <= n else "full"})


def is_scaling_learnt(params: Params) -> bool:
    """Return whether the scaling of a setting depends on the rows that it is fitted on."""
    return params.get("scaling") in ("standard", "standard_l2", *WITH_COMPONENTS)


def make_full_scaler(method: str, shape: tuple[int, ...]) -> Any:
    """Return the unfitted scaling step with as many components as features of shape (n, d) allow.

    Of ``pca_l2`` it is without the last step: `take_components` follows.
    """
    scaler = make_scaler({"scaling": method, "components": min(shape)}, shape)
    return scaler[:-1] if method == "pca_l2" else scaler


def take_components(x: NDArray[np.float32], params: Params) -> NDArray[np.float32]:
    """Return the features of a setting from those that the step of `make_full_scaler` gives: (n, d) float32."""
    if params["scaling"] not in WITH_COMPONENTS:
        return x
    # A smaller number of components are the first ones of all components.
    components = x[:, : params["components"]]
    return normalize(components) if params["scaling"] == "pca_l2" else components
