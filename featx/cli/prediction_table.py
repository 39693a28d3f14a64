"""The table of ``featx predict``: images × runs, and the scores on images whose true value is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featx.cli import console

if TYPE_CHECKING:
    from featx.predictors.prediction import Prediction


@dataclass
class RunScore:
    """Score of one run on the images whose true value is known.

    Attributes
    ----------
    target, label
        Name of the target, and label of the run.
    score
        ``accuracy`` or ``mae``.
    n, total
        Number of scored images, and the sum of their values.
    """

    target: str
    label: str
    score: str
    n: int = 0
    total: float = 0.0

    @property
    def value(self) -> float | None:
        """The mean over the scored images; None if there are none."""
        return self.total / self.n if self.n else None


@dataclass
class RunScores:
    """Scores of all runs, added up batch by batch."""

    by_run: dict[str, RunScore] = field(default_factory=dict)

    def add(self, predictions: "Mapping[str, Prediction]") -> None:
        """Add the scores of a batch."""
        from featx.predictors.true_values import score_images

        for run, prediction in predictions.items():
            score, values = score_images(prediction)
            result = self.by_run.setdefault(run, RunScore(prediction.target, prediction.label, score))
            result.n += len(values)
            result.total += sum(values)

    def to_json(self) -> dict[str, Any]:
        """Return run name → score, value and number of images, for the runs with at least one scored image."""
        return {
            run: {"score": score.score, "value": score.value, "n": score.n}
            for run, score in self.by_run.items()
            if score.n
        }

    def show(self) -> None:
        """Print one line of scores per target."""
        for target in dict.fromkeys(score.target for score in self.by_run.values()):
            scores = [score for score in self.by_run.values() if score.target == target and score.n]
            if not scores:
                continue
            numbers = sorted({score.n for score in scores})
            n = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
            title = f"{target}: score on the {n} images with a true value"
            name = console.SHORT.get(scores[0].score, scores[0].score)
            console.say()
            console.table(title, ["", *(score.label for score in scores)], [(name, *(score.value for score in scores))])


def print_predictions(predictions_by_run: "Mapping[str, Prediction]", coverage: float | None) -> None:
    """Print the predictions of all runs, one table of images × runs per target."""
    for target in dict.fromkeys(prediction.target for prediction in predictions_by_run.values()):
        predictions = [p for p in predictions_by_run.values() if p.target == target and p.images]
        if not predictions:
            continue
        first = predictions[0]
        columns = {"image": first.images, **({"true": _true_texts(first)} if first.true else {})}
        columns |= {prediction.label: _texts(prediction, coverage) for prediction in predictions}
        console.say()
        console.table(target, list(columns), zip(*columns.values(), strict=True))


def _true_texts(prediction: "Prediction") -> list[str | None]:
    if prediction.kind == "numbers":
        return [None if value is None else _numbers_text(value) for value in prediction.true]
    return [", ".join(value) if isinstance(value, tuple) else value for value in prediction.true]


def _numbers_text(values: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _texts(prediction: "Prediction", coverage: float | None) -> list[str | None]:
    """Return each prediction as text: a class with its probability, labels, or numbers; a dash for an abstention."""
    if prediction.kind == "numbers":
        if coverage is None:
            return [_numbers_text(values) for values in prediction.proba]
        pairs = zip(prediction.proba, prediction.intervals(coverage), strict=True)
        return [
            ", ".join(f"{v:.4g} ({low:.4g} … {high:.4g})" for v, (low, high) in zip(values, bounds, strict=True))
            for values, bounds in pairs
        ]
    sets = [""] * len(prediction.images) if coverage is None else [f" {{{s}}}" for s in prediction.sets(coverage)]
    if prediction.kind == "labels":
        return [label or None for label in prediction.labels]
    triples = zip(prediction.labels, prediction.label_proba, sets, strict=True)
    return [f"{label or '–'} {probability:.2f}{members}" for label, probability, members in triples]
