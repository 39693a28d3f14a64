"""Predictions as text: a class with its probability, labels, or numbers with their names."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featx.predictors.prediction import Prediction
from featx.text.four_digits import four_digits


def best_first(predictions: Mapping[str, Prediction]) -> list[tuple[str, Prediction]]:
    """Return run names and predictions, the run with the best score on the selection rows first."""
    return sorted(predictions.items(), key=lambda item: _rank(item[1]))


def _rank(prediction: Prediction) -> float:
    return math.inf if math.isnan(prediction.selection_score) else -prediction.selection_score


def prediction_texts(prediction: Prediction, coverage: float | None = None) -> list[str | None]:
    """Return each prediction as text; None for an abstention and for no label.

    Parameters
    ----------
    coverage
        Coverage of the prediction sets or intervals in the texts; None leaves these out.
    """
    if prediction.kind == "numbers":
        return _number_texts(prediction, coverage)
    if prediction.kind == "labels":
        return [label or None for label in prediction.labels]
    set_texts = [""] * len(prediction.images) if coverage is None else [f" {{{s}}}" for s in prediction.sets(coverage)]
    triples = zip(prediction.labels, prediction.label_proba, set_texts, strict=True)
    return [f"{label or '–'} {probability:.2f}{members}" for label, probability, members in triples]


def true_text(prediction: Prediction, value: Any) -> str:
    """Return the true value of an image as text."""
    if prediction.kind == "numbers":
        return ", ".join(map(_named, _shown_names(prediction), map(four_digits, value)))
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _number_texts(prediction: Prediction, coverage: float | None) -> list[str | None]:
    names = _shown_names(prediction)
    if coverage is None:
        texts = [list(map(four_digits, values)) for values in prediction.proba]
    else:
        texts = [
            [
                f"{four_digits(value)} ({four_digits(low)} … {four_digits(high)})"
                for value, (low, high) in zip(values, bounds, strict=True)
            ]
            for values, bounds in zip(prediction.proba, prediction.intervals(coverage), strict=True)
        ]
    return [", ".join(map(_named, names, numbers)) for numbers in texts]


def _shown_names(prediction: Prediction) -> Sequence[str]:
    """Return the names of the numbers; empty for the only number of a target of the same name."""
    return [""] if prediction.classes == (prediction.target,) else prediction.classes


def _named(name: str, text: str) -> str:
    return f"{name} {text}" if name else text
