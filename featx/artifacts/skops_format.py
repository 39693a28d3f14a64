"""Heads in the skops format, which is read without running anything that stands in it; extra ``safe``."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile

from featx.errors import ArtifactError, MissingExtraError

# What heads are made of, beside what skops trusts by itself; anything else is refused before it is built.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
)


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError("the skops format needs a package; run 'pip install \"featx[safe]\"'") from error
    return skops.io


def check_types(file: Path) -> None:
    """Check that a file holds nothing but what heads are made of.

    Raises
    ------
    ArtifactError
        it holds other types, which are named, or is no skops file.
    """
    try:
        found = _skops().get_untrusted_types(file=file)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:  # of whatever stands there
        raise ArtifactError(f"{file} is not a skops file that can be read ({error})") from error
    if odd := sorted(set(found) - set(TRUSTED)):
        raise ArtifactError(f"{file} holds types that heads are not made of: {', '.join(odd)}; it is not opened")


def dump(model: Any, file: Path) -> None:
    """Write a head.

    Raises
    ------
    ArtifactError
        it holds other types than heads are made of (one from an entry point may): it could not be read again.
    """
    _skops().dump(model, file, compression=ZIP_DEFLATED)
    try:
        check_types(file)
    except ArtifactError:
        file.unlink()
        raise


def read(file: Path) -> Any:
    """Return a head, once its types are those that are trusted."""
    check_types(file)
    return _skops().load(file, trusted=list(TRUSTED))
