"""What a model says of images, and how sure it is: labels, probabilities, sets and intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.conformal import ConformalSpec, in_sets
from featx.metrics.row_scores import decided
from featx.tables.decision_rule import DecisionRule, decided_codes
from featx.tables.ids import Kind
from featx.tables.predictions import HAS, PROBA, VALUE


@dataclass(frozen=True)
class Prediction:
    """What a model says of images.

    Attributes
    ----------
    images
        Those that could be read, n of them.
    proba
        (n, k); of labels, of having each; of a model of numbers, these.
    classes
        k names.
    unreadable
        Image → reason.
    warnings
        Where this machine computes otherwise than the one that the model comes from.
    kind
        Of what is answered.
    conformal
        What sets and intervals are made by; None for labels, and for models of an older featx.
    abstain_below
        The probability that a label takes to be said.
    decision
        The rule by which the model decides for a class; None for the most probable class.
    """

    images: list[str]
    proba: NDArray[np.float64]
    classes: tuple[str, ...]
    unreadable: dict[str, str]
    warnings: list[str]
    kind: Kind = "classes"
    conformal: ConformalSpec | None = None
    abstain_below: float = 0.0
    decision: DecisionRule | None = None

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) the class that each image is decided for."""
        return decided_codes(self.proba, self.decision)

    @property
    def label_proba(self) -> NDArray[np.float64]:
        """(n,) the probability of the class that each image is decided for."""
        return np.asarray(self.proba[np.arange(len(self.proba)), self.codes])

    @property
    def labels(self) -> list[str]:
        """The class that each image is decided for, or the labels that it has; empty of numbers, and if abstaining."""
        if self.kind == "classes":
            pairs = zip(self.codes, self.label_proba, strict=True)
            return [self.classes[code] if p >= self.abstain_below else "" for code, p in pairs]
        if self.kind == "numbers":
            return [""] * len(self.proba)
        had = decided(self.proba)
        return [", ".join(name for name, has in zip(self.classes, row, strict=True) if has) for row in had]

    def abstaining(self, below: float) -> "Prediction":
        """Return the same, with an empty label where the class decided for has a probability below that.

        Raises
        ------
        DataError
            other than classes are answered, or that is no probability.
        """
        if not 0 < below < 1:
            raise DataError(f"abstain_below is {below:g}, expected a number between 0 and 1")
        if self.kind != "classes":
            raise DataError(f"only answers of classes can be abstained from, these are {self.kind}")
        return replace(self, abstain_below=below)

    def sets(self, coverage: float) -> list[str]:
        """Return the classes that the truth is among, with a probability of `coverage`, of each image.

        Raises
        ------
        DataError
            the model does not keep what it takes, or not for this coverage.
        """
        (threshold,) = self._conformal("classes", "prediction sets").at(coverage)
        inside = in_sets(self.proba, threshold)
        return [", ".join(name for name, has in zip(self.classes, row, strict=True) if has) for row in inside]

    def intervals(self, coverage: float) -> NDArray[np.float64]:
        """Return (n, t, 2) between what each number lies, with a probability of `coverage`.

        Raises
        ------
        DataError
            the model does not keep what it takes, or not for this coverage.
        """
        half = self._conformal("numbers", "intervals").at(coverage)
        return np.stack([self.proba - half, self.proba + half], axis=2)

    def _conformal(self, kind: Kind, what: str) -> ConformalSpec:
        if self.kind != kind or self.conformal is None:
            of = self.kind if self.kind != kind else "a model of an older featx"
            raise DataError(f"{what} are for models of {kind} that keep what they take; these answers are of {of}")
        return self.conformal

    def rows(self, run: str, coverage: float | None = None) -> list[dict[str, Any]]:
        """Return one flat record an image.

        Parameters
        ----------
        coverage
            Adds prediction sets or intervals.

        Returns
        -------
        list
            image, run, and of classes: label, its probability, that of every class, the set; of labels: those that it
            has, the probability of each; of numbers: each, and its low and high.
        """
        columns: dict[str, Sequence[Any]] = {"image": self.images, "run": [run] * len(self.images)}
        if self.kind == "classes":
            columns |= {"label": self.labels, "probability": self.label_proba.tolist()}
        if self.kind == "labels":
            columns |= {"labels": self.labels}
        if coverage is not None and self.kind != "numbers":
            columns |= {"set": self.sets(coverage)}
        prefix = {"classes": PROBA, "labels": HAS, "numbers": VALUE}[self.kind]
        columns |= {f"{prefix}{name}": self.proba[:, at].tolist() for at, name in enumerate(self.classes)}
        if coverage is not None and self.kind == "numbers":
            edges = self.intervals(coverage)
            for at, name in enumerate(self.classes):
                columns |= {f"low.{name}": edges[:, at, 0].tolist(), f"high.{name}": edges[:, at, 1].tolist()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
