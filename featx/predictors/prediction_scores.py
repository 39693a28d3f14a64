"""Scores of runs on images whose true value is known, added up batch by batch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.metrics.share_intervals import Interval, wilson_interval
from featx.predictors.prediction import Prediction
from featx.predictors.prediction_texts import best_first
from featx.predictors.true_values import score_images
from featx.tables.ids import Kind

# Quantile of the normal distribution for an interval of 95 %.
NORMAL_QUANTILE = 1.959964
MIN_IMAGES_FOR_INTERVAL = 2


@dataclass
class RunScore:
    """Score of one run on the images whose true value is known.

    Attributes
    ----------
    target, label
        Name of the target, and label of the run.
    kind
        Kind of the predictions.
    classes
        Names of the classes, labels or numbers.
    score
        ``accuracy`` or ``mae``.
    n, total, squares
        Number of scored images, and the sums of their values and of their squares.
    counts
        True and predicted class → number of images; empty unless classes are predicted.
    """

    target: str
    label: str
    kind: Kind
    classes: tuple[str, ...]
    score: str
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, prediction: Prediction) -> None:
        """Add the images of a batch."""
        _, values = score_images(prediction)
        self.n += len(values)
        self.total += sum(values)
        self.squares += sum(value * value for value in values)
        if self.kind != "classes":
            return
        for true, predicted in zip(prediction.true, prediction.labels, strict=False):
            if true is not None and predicted:
                self.counts[true, predicted] = self.counts.get((true, predicted), 0) + 1

    @property
    def value(self) -> float | None:
        """The mean over the scored images; None if there are none."""
        return self.total / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the mean, images being independent; None for too few images.

        Notes
        -----
        For classes it is Wilson's interval of a share, otherwise the normal one.
        """
        if self.value is None or self.n < MIN_IMAGES_FOR_INTERVAL:
            return None
        if self.kind == "classes":
            return wilson_interval(self.value, self.n)
        variance = max(self.squares / self.n - self.value**2, 0.0) * self.n / (self.n - 1)
        half_width = NORMAL_QUANTILE * math.sqrt(variance / self.n)
        return max(self.value - half_width, 0.0), self.value + half_width

    @property
    def confusion(self) -> list[list[int]]:
        """Counts (k, k) of true classes (rows) and predicted classes (columns)."""
        position = {name: number for number, name in enumerate(self.classes)}
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=int)
        for (true, predicted), n in self.counts.items():
            counts[position[true], position[predicted]] += n
        return [[int(count) for count in row] for row in counts]


@dataclass
class RunScores:
    """Scores of all runs, added up batch by batch; the run with the best score on the selection rows is the first."""

    by_run: dict[str, RunScore] = field(default_factory=dict)

    def add(self, predictions: Mapping[str, Prediction]) -> None:
        """Add the scores of a batch."""
        for run, prediction in best_first(predictions):
            if run not in self.by_run:
                score, _ = score_images(prediction)
                self.by_run[run] = RunScore(
                    prediction.target, prediction.label, prediction.kind, prediction.classes, score
                )
            self.by_run[run].add(prediction)

    def of_target(self, target: str) -> dict[str, RunScore]:
        """Return run name → score, for the runs of a target with at least one scored image."""
        return {run: score for run, score in self.by_run.items() if score.target == target and score.n}

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return list(dict.fromkeys(score.target for score in self.by_run.values()))

    def to_json(self) -> dict[str, Any]:
        """Return run name → score, value, interval and number of images, for runs with at least one scored image."""
        return {
            run: {"score": score.score, "value": score.value, "n": score.n}
            | dict(zip(("low", "high"), score.interval or (None, None), strict=True))
            for run, score in self.by_run.items()
            if score.n
        }
