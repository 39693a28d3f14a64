"""Support vector machines fitted by Intel's solver (extra ``intel``) that are scikit-learn's own once they are kept.

Nothing of scikit-learn is patched: only what is built here is fitted by the other package.
"""

from typing import Any

import numpy as np
import sklearn
from sklearn.svm import SVC, SVR

from featx.errors import FeatxError, MissingExtraError

N_COMPARED = 20  # rows
MOST_APART = 1e-6  # of the largest answer's size
LEARNT = (
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
LEARNT_OF_CLASSES = ("classes_", "class_weight_")
COUNTS = ("support_", "_n_support", "n_iter_")
WITHOUT_PROBABILITIES = {"_probA": np.empty(0), "_probB": np.empty(0), "_effective_probability": False}


def _solvers() -> Any:
    try:
        import sklearnex.svm
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "solver 'intel' needs scikit-learn-intelex; run 'pip install \"featx[intel]\"'"
        ) from error
    except ImportError as error:  # OpenVINO brings a TBB of its own, of which a process has the first one only
        raise FeatxError(
            f"scikit-learn-intelex cannot be loaded here ({error}); after an extraction in OpenVINO run 'featx fit' in "
            "a process of its own, or leave out solver = 'intel'"
        ) from error
    return sklearnex.svm


class _FittedByIntel:
    """What both kinds of machine share; mixed into scikit-learn's class, whose parameters are kept."""

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn by the other package, and take over what it learnt.

        Raises
        ------
        FeatxError
            scikit-learn's machine answers otherwise with what was learnt: the packages' versions do not fit together.
        """
        of_classes = isinstance(self, SVC)
        fast: Any = (_solvers().SVC if of_classes else _solvers().SVR)(**self.get_params())  # type: ignore[attr-defined]
        x = np.asarray(x, dtype=np.float64)
        fast.fit(x, y, sample_weight)
        for name in LEARNT + LEARNT_OF_CLASSES if of_classes else LEARNT:
            value = getattr(fast, name)
            vars(self)[name] = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
        self._as_libsvm_counts(of_classes)
        self._compare(fast, x[:: max(1, len(x) // N_COMPARED)])
        return self

    def _as_libsvm_counts(self, of_classes: bool) -> None:
        """Bring counts to the type and shape in which libsvm reads them; it looks at neither."""
        mine = vars(self)
        for name in COUNTS:
            mine[name] = np.atleast_1d(mine[name]).astype(np.int32)
        if not of_classes:
            mine["_n_support"] = np.repeat(mine["_n_support"], 2)
        mine.update(WITHOUT_PROBABILITIES, _num_iter=mine["n_iter_"])

    def _compare(self, fast: Any, x: Any) -> None:
        ask = "decision_function" if isinstance(self, SVC) else "predict"
        mine, theirs = getattr(self, ask)(x), getattr(fast, ask)(x)
        if not np.allclose(mine, theirs, rtol=0, atol=MOST_APART * np.abs(theirs).max()):
            apart = float(np.abs(mine - theirs).max())
            raise FeatxError(
                f"scikit-learn {sklearn.__version__} answers otherwise (by {apart:.2g}) than scikit-learn-intelex with "
                "what this has learnt; update both, or leave out solver = 'intel'"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Be kept as scikit-learn's own machine, so that whoever loads it needs neither this nor Intel's package."""
        plain = SVC if isinstance(self, SVC) else SVR
        state = vars(self) | {"_sklearn_version": sklearn.__version__}
        return plain, (), state


class IntelSVC(_FittedByIntel, SVC):  # type: ignore[misc]
    """`SVC` with another solver."""


class IntelSVR(_FittedByIntel, SVR):  # type: ignore[misc]
    """`SVR` with another solver."""


def check_installed() -> None:
    """Raise `MissingExtraError` where the package is not there, `FeatxError` where it cannot be loaded."""
    _solvers()
