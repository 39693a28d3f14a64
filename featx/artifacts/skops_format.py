"""Heads in the skops format (extra ``safe``), which are read without running code of the file."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile

from featx.errors import ArtifactError, MissingExtraError

# Types in heads besides those that skops trusts by itself; any other type is refused before it is created.
TRUSTED_TYPES = (
    "scipy.sparse._csr.csr_array",
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


def _import_skops() -> Any:
    """Return the module ``skops.io``, or raise `MissingExtraError`."""
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError("the skops format needs a package; run 'pip install \"featx[safe]\"'") from error
    return skops.io


def check_types(file: Path) -> None:
    """Check that a file holds only types that heads consist of.

    Raises
    ------
    ArtifactError
        The file holds other types, or is not a skops file.
    """
    try:
        types = _import_skops().get_untrusted_types(file=file)
    # An arbitrary file makes skops raise any of these.
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise ArtifactError(f"{file} is not a skops file that can be read ({error})") from error
    if untrusted_types := sorted(set(types) - set(TRUSTED_TYPES)):
        raise ArtifactError(f"{file} holds types that are not trusted: {', '.join(untrusted_types)}; it is not opened")


def dump(model: Any, file: Path) -> None:
    """Write a head.

    Raises
    ------
    ArtifactError
        The head holds types that are not trusted, as heads from entry points may, and could not be read again.
    """
    _import_skops().dump(model, file, compression=ZIP_DEFLATED)
    try:
        check_types(file)
    except ArtifactError:
        file.unlink()
        raise


def read(file: Path) -> Any:
    """Return a head after its types have been checked."""
    check_types(file)
    return _import_skops().load(file, trusted=list(TRUSTED_TYPES))
