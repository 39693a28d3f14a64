"""The tables of ``featx predict``: images × runs, the best run first, and scores where true values are known."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from featx.cli import console
from featx.cli.output_settings import output_settings
from featx.cli.table_layout import Column
from featx.text.masking import mask_cell

if TYPE_CHECKING:
    from featx.predictors.prediction import Prediction
    from featx.predictors.prediction_scores import RunScores

# Ranks of the columns after the image: the prediction of the best run, the true value, then the other runs.
TRUE_VALUE, OTHER_RUNS = 2, 3
# Paths that take more than a third of a line are printed without the folder that all of them are in.
MAX_SHARE_OF_PATHS = 3


def print_scores(scores: "RunScores") -> None:
    """Print the scores of all runs on the images whose true value is known, one table per target."""
    from featx.metrics.score_texts import ScoreFormat

    for target in scores.targets:
        if not (scores_by_run := scores.of_target(target)):
            continue
        numbers = sorted({score.n for score in scores_by_run.values()})
        n = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        first_score = next(iter(scores_by_run.values()))
        columns: list[str | Column] = ["run", console.short_name(first_score.score), "95 %", "n"]
        score_format = ScoreFormat.of(first_score.score, [score.value for score in scores_by_run.values()])
        rows = [
            (
                console.run_name(run, score.label),
                score_format.show(score.value),
                score_format.interval(score.interval),
                score.n,
            )
            for run, score in scores_by_run.items()
        ]
        console.say()
        images = "image" if n == "1" else "images"
        console.table(f"{target}: score on the {n} {images} with a true value", columns, rows)


def print_predictions(predictions_by_run: "Mapping[str, Prediction]", coverage: float | None) -> None:
    """Print the predictions of all runs, one table per target: rows are images, or runs if there is one image."""
    from featx.predictors.prediction_texts import best_first, prediction_texts

    for number, (target, predictions) in enumerate(by_target(predictions_by_run).items()):
        best_pair, *further_pairs = best_first(predictions)
        run, prediction = best_pair
        if number:
            console.show()
        if len(prediction.images) == 1:
            _print_image(target, [best_pair, *further_pairs], coverage)
            continue
        columns: list[str | Column] = ["image", Column(console.run_name(run, prediction.label), 1, is_text=True)]
        # Without its folder, the query of a URL would not be recognised as a secret.
        images = list(map(mask_cell, prediction.images))
        folder = _shared_folder(images)
        images = [image.removeprefix(folder) for image in images]
        values: list[Sequence[object]] = [images, prediction_texts(prediction, coverage)]
        if prediction.true:
            columns.append(Column("true", TRUE_VALUE, is_text=True))
            values.append(_true_texts(prediction))
        for rank, (name, item) in enumerate(further_pairs, start=OTHER_RUNS):
            columns.append(Column(console.run_name(name, item.label), rank, is_text=True))
            values.append(prediction_texts(item, coverage))
        title = f"{target} of images in {folder}" if folder else target
        if further_pairs:
            title = f"{title}: predictions of {len(predictions)} runs, the best run first"
        console.table(title, columns, list(zip(*values, strict=True)))


def _shared_folder(images: Sequence[str]) -> str:
    """Return the folder of all images with its slash, if their paths are long for the terminal; otherwise nothing."""
    if output_settings().wide or max(map(len, images)) <= console.width() // MAX_SHARE_OF_PATHS:
        return ""
    parts = [image.split("/")[:-1] for image in images]
    shared_parts = list(takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False)))
    return "".join(f"{names[0]}/" for names in shared_parts)


def by_target(predictions_by_run: "Mapping[str, Prediction]") -> "dict[str, dict[str, Prediction]]":
    """Return target → run name → prediction, for the predictions of at least one image."""
    targets: dict[str, dict[str, Prediction]] = {}
    for run, prediction in predictions_by_run.items():
        if prediction.images:
            targets.setdefault(prediction.target, {})[run] = prediction
    return targets


def _print_image(target: str, predictions: "Sequence[tuple[str, Prediction]]", coverage: float | None) -> None:
    """Print the predictions of all runs for one image, one run in a row."""
    from featx.predictors.prediction_texts import prediction_texts

    best_prediction = predictions[0][1]
    true = (
        f"; true value: {_true_texts(best_prediction)[0]}"
        if best_prediction.true and best_prediction.true[0] is not None
        else ""
    )
    rows = [(console.run_name(run, item.label), prediction_texts(item, coverage)[0]) for run, item in predictions]
    console.table(f"{target} of {best_prediction.images[0]}{true}", ["run", Column("prediction", is_text=True)], rows)


def _true_texts(prediction: "Prediction") -> list[str | None]:
    from featx.predictors.prediction_texts import true_text

    return [None if value is None else true_text(prediction, value) for value in prediction.true]
