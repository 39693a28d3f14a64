"""Support vector machines fitted by Intel's solver (extra ``intel``) that are saved as scikit-learn's own classes.

Nothing of scikit-learn is patched: only the machines of this module are fitted by the other package.
"""

from typing import Any

import numpy as np
import sklearn
from sklearn.svm import SVC, SVR

from featx.errors import FeatxError, MissingExtraError

MAX_COMPARED_ROWS = 20
# Largest difference between the outputs of both packages, as a share of the largest output.
MAX_RELATIVE_DIFFERENCE = 1e-6
FITTED_ATTRIBUTES = (
    "support_",
    "support_vectors_",
    "_n_support",
    "dual_coef_",
    "_dual_coef_",
    "intercept_",
    "_intercept_",
    "_gamma",
    "_sparse",
    "shape_fit_",
    "fit_status_",
    "n_iter_",
    "n_features_in_",
)
FITTED_CLASSIFIER_ATTRIBUTES = ("classes_", "class_weight_")
COUNT_ATTRIBUTES = ("support_", "_n_support", "n_iter_")
NO_PROBABILITIES = {"_probA": np.empty(0), "_probB": np.empty(0), "_effective_probability": False}


def _import_intel_svm() -> Any:
    try:
        import sklearnex.svm
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "solver 'intel' needs scikit-learn-intelex; run 'pip install \"featx[intel]\"'"
        ) from error
    except ImportError as error:
        # OpenVINO brings its own TBB, and a process can load only one.
        raise FeatxError(
            f"scikit-learn-intelex cannot be loaded in this process ({error}); after an extraction in OpenVINO run "
            "'featx fit' in a new process, or remove solver = 'intel'"
        ) from error
    return sklearnex.svm


class _FittedByIntel:
    """Mixin for scikit-learn's machines: fits with Intel's package, saves as scikit-learn's class."""

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit with the other package and copy the fitted attributes.

        Raises
        ------
        FeatxError
            scikit-learn's machine predicts otherwise with these attributes: the versions of the packages do not match.
        """
        is_classifier = isinstance(self, SVC)
        svm = _import_intel_svm()
        intel_model: Any = (svm.SVC if is_classifier else svm.SVR)(**self.get_params())  # type: ignore[attr-defined]
        x = np.asarray(x, dtype=np.float64)
        intel_model.fit(x, y, sample_weight)
        for name in FITTED_ATTRIBUTES + FITTED_CLASSIFIER_ATTRIBUTES if is_classifier else FITTED_ATTRIBUTES:
            value = getattr(intel_model, name)
            vars(self)[name] = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
        self._convert_counts(is_classifier)
        self._check_outputs(intel_model, x[:: max(1, len(x) // MAX_COMPARED_ROWS)])
        return self

    def _convert_counts(self, is_classifier: bool) -> None:
        """Convert counts to the dtype and shape that libsvm reads; it checks neither."""
        attributes = vars(self)
        for name in COUNT_ATTRIBUTES:
            attributes[name] = np.atleast_1d(attributes[name]).astype(np.int32)
        if not is_classifier:
            attributes["_n_support"] = np.repeat(attributes["_n_support"], 2)
        attributes.update(NO_PROBABILITIES, _num_iter=attributes["n_iter_"])

    def _check_outputs(self, intel_model: Any, x: Any) -> None:
        method = "decision_function" if isinstance(self, SVC) else "predict"
        outputs, intel_outputs = getattr(self, method)(x), getattr(intel_model, method)(x)
        tolerance = MAX_RELATIVE_DIFFERENCE * np.abs(intel_outputs).max()
        if not np.allclose(outputs, intel_outputs, rtol=0, atol=tolerance):
            difference = float(np.abs(outputs - intel_outputs).max())
            raise FeatxError(
                f"outputs of scikit-learn {sklearn.__version__} and scikit-learn-intelex differ by {difference:.2g} "
                "for the same fitted machine; update both packages, or remove solver = 'intel'"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as scikit-learn's own machine, so that loading it needs neither this class nor Intel's package."""
        base_class = SVC if isinstance(self, SVC) else SVR
        state = vars(self) | {"_sklearn_version": sklearn.__version__}
        return base_class, (), state


class IntelSVC(_FittedByIntel, SVC):  # type: ignore[misc]
    """`SVC` fitted by Intel's solver."""


class IntelSVR(_FittedByIntel, SVR):  # type: ignore[misc]
    """`SVR` fitted by Intel's solver."""


def check_installed() -> None:
    """Raise `MissingExtraError` if the package is not installed, `FeatxError` if it cannot be loaded."""
    _import_intel_svm()
