"""Predictions for images: labels, probabilities, prediction sets and intervals."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.conformal import ConformalSpec, in_prediction_sets
from featx.specs.embedding import Decoding
from featx.tables.decision_rule import DecisionRule, decide_codes
from featx.tables.ids import Floats, Kind
from featx.tables.predictions import PREDICTION_TABLES
from featx.tables.target_values import LabelTargets


@dataclass(frozen=True)
class Prediction:
    """Prediction of a model for images.

    Attributes
    ----------
    images
        Paths of the n images that could be read.
    proba
        Probabilities (n, k) of classes or labels, or predicted numbers (n, k).
    classes
        Names of the k columns.
    unreadable
        Path of an unreadable image → reason.
    warnings
        Differences between this machine and the one that the model was saved on.
    kind
        Kind of the predictions.
    conformal
        Thresholds of prediction sets and intervals; None for labels.
    abstain_below
        Probability below which no class is predicted; 0 by default.
    decision
        Rule by which a class is predicted from probabilities; None for the most probable class.
    true
        True values of the n images: class names, tuples of numbers or tuples of label names, None where unknown. Empty
        if no folder or label table states any.
    target, label
        Name of the target, and label of the run among all runs that predict.
    selection_score
        Score of the run on the selection rows, greater is better; nan if it is not known.
    uris
        URIs of the n images; empty for vectors.
    decoding
        Settings by which the images were decoded; None for vectors that were made elsewhere.
    """

    images: list[str]
    proba: Floats
    classes: tuple[str, ...]
    unreadable: dict[str, str]
    warnings: list[str]
    kind: Kind = "classes"
    conformal: ConformalSpec | None = None
    abstain_below: float = 0.0
    decision: DecisionRule | None = None
    true: Sequence[Any] = ()
    target: str = ""
    label: str = ""
    selection_score: float = math.nan
    uris: Sequence[str] = ()
    decoding: Decoding | None = None

    def with_true_values(self, true: Sequence[Any], warnings: list[str]) -> "Prediction":
        """Return this prediction with true values of its images and with other warnings."""
        return replace(self, true=true, warnings=warnings)

    @property
    def label_sets(self) -> list[set[str]]:
        """The predicted labels of each image."""
        members = LabelTargets.decide(self.proba, None)
        return [{name for name, is_member in zip(self.classes, row, strict=True) if is_member} for row in members]

    @property
    def codes(self) -> NDArray[np.int64]:
        """Codes (n,) of the predicted classes."""
        return decide_codes(self.proba, self.decision)

    @property
    def label_proba(self) -> Floats:
        """Probabilities (n,) of the predicted classes."""
        return np.asarray(self.proba[np.arange(len(self.proba)), self.codes])

    @property
    def labels(self) -> list[str]:
        """The predicted class or labels of each image as text; empty for numbers and for abstentions."""
        if self.kind == "classes":
            pairs = zip(self.codes, self.label_proba, strict=True)
            return [self.classes[code] if p >= self.abstain_below else "" for code, p in pairs]
        if self.kind == "numbers":
            return [""] * len(self.proba)
        return self._join_names(LabelTargets.decide(self.proba, None))

    def with_abstention(self, below: float) -> "Prediction":
        """Return this prediction with an empty label where the predicted class has a probability below `below`.

        Raises
        ------
        DataError
            The model does not predict classes, or `below` is not between 0 and 1.
        """
        if not 0 < below < 1:
            raise DataError(f"abstain_below is {below:g}, expected a number between 0 and 1")
        if self.kind != "classes":
            raise DataError(f"abstention is available for classes only, this model predicts {self.kind}")
        return replace(self, abstain_below=below)

    def sets(self, coverage: float) -> list[str]:
        """Return the prediction set of each image: classes that contain the true one with probability `coverage`.

        Raises
        ------
        DataError
            The model does not predict classes, or has no threshold for this coverage.
        """
        (threshold,) = self._require_conformal("classes", "prediction sets").at(coverage)
        return self._join_names(in_prediction_sets(self.proba, threshold))

    def intervals(self, coverage: float) -> Floats:
        """Return the bounds (n, t, 2) that contain each number with probability `coverage`.

        Raises
        ------
        DataError
            The model does not predict numbers, or has no threshold for this coverage.
        """
        half_width = self._require_conformal("numbers", "prediction intervals").at(coverage)
        return np.stack([self.proba - half_width, self.proba + half_width], axis=2)

    def _require_conformal(self, kind: Kind, quantity: str) -> ConformalSpec:
        """Return the thresholds, or raise `DataError` if the model is not of `kind` or has no thresholds."""
        if self.kind != kind:
            raise DataError(f"{quantity} are available for {kind} only, this model predicts {self.kind}")
        if self.conformal is None:
            raise DataError(f"this model has no thresholds of {quantity}; make the run again with this featx")
        return self.conformal

    def _join_names(self, members: NDArray[Any]) -> list[str]:
        """Return the names of the columns that are true or 1 in each row of (n, k), joined by commas."""
        return [
            ", ".join(name for name, is_member in zip(self.classes, row, strict=True) if is_member) for row in members
        ]

    def rows(self, run: str, coverage: float | None = None) -> list[dict[str, Any]]:
        """Return one flat record for each image.

        Parameters
        ----------
        run
            Name of the run, which each record contains.
        coverage
            Coverage of the prediction sets or intervals in the records; None leaves these out.

        Returns
        -------
        list
            Records with the image, the run and, for classes, the predicted class, its probability, the set and the
            probability of each class; for labels, the predicted labels and the probability of each; for numbers, each
            number with its bounds. If true values are known, also ``true`` or, for each number, ``true.NAME``.
        """
        columns = {"image": self.images, "run": [run] * len(self.images), **COLUMNS[self.kind](self, coverage)}
        columns |= self._true_columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _true_columns(self) -> "Columns":
        """Return the columns of true values: nan for unknown numbers, and empty texts for unknown classes."""
        if not self.true:
            return {}
        if self.kind == "numbers":
            rows = [(math.nan,) * len(self.classes) if row is None else row for row in self.true]
            return {f"true.{name}": [row[i] for row in rows] for i, name in enumerate(self.classes)}
        return {"true": [", ".join(value) if isinstance(value, tuple) else value or "" for value in self.true]}


Columns = dict[str, Sequence[Any]]


def _value_columns(prediction: Prediction) -> Columns:
    prefix = PREDICTION_TABLES[prediction.kind].prefix
    return {f"{prefix}{name}": prediction.proba[:, i].tolist() for i, name in enumerate(prediction.classes)}


def warn_unreadable(prediction: Prediction) -> None:
    """Warn the caller of `predict_images` of unreadable images, because labels do not align with the given paths."""
    if not prediction.unreadable:
        return
    path, reason = next(iter(prediction.unreadable.items()))
    n_unreadable = len(prediction.unreadable)
    warnings.warn(
        f"{n_unreadable} of {n_unreadable + len(prediction.images)} images cannot be read and have no prediction, "
        f"first {path!r}: {reason}; the attribute 'images' holds the paths of the others, in their order",
        stacklevel=3,
    )


def _set_columns(prediction: Prediction, coverage: float | None) -> Columns:
    return {} if coverage is None else {"set": prediction.sets(coverage)}


def _class_columns(prediction: Prediction, coverage: float | None) -> Columns:
    decisions: Columns = {"label": prediction.labels, "probability": prediction.label_proba.tolist()}
    return decisions | _set_columns(prediction, coverage) | _value_columns(prediction)


def _label_columns(prediction: Prediction, coverage: float | None) -> Columns:
    return {"labels": prediction.labels} | _set_columns(prediction, coverage) | _value_columns(prediction)


def _number_columns(prediction: Prediction, coverage: float | None) -> Columns:
    columns = _value_columns(prediction)
    if coverage is not None:
        bounds = prediction.intervals(coverage)
        for i, name in enumerate(prediction.classes):
            columns |= {f"low.{name}": bounds[:, i, 0].tolist(), f"high.{name}": bounds[:, i, 1].tolist()}
    return columns


# Columns of the records of each kind of prediction.
COLUMNS: dict[Kind, Callable[[Prediction, float | None], Columns]] = {
    "classes": _class_columns,
    "labels": _label_columns,
    "numbers": _number_columns,
}


def join_predictions(batches: Sequence[Prediction]) -> Prediction:
    """Return the predictions of one model for several batches of images as one.

    Parameters
    ----------
    batches
        At least one prediction; all are made by the same model.
    """
    return replace(
        batches[0],
        images=[image for batch in batches for image in batch.images],
        proba=np.concatenate([batch.proba for batch in batches]),
        true=[value for batch in batches for value in batch.true],
        uris=[uri for batch in batches for uri in batch.uris],
        unreadable={image: reason for batch in batches for image, reason in batch.unreadable.items()},
        warnings=list(dict.fromkeys(warning for batch in batches for warning in batch.warnings)),
    )
