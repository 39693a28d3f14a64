"""``featx predict``."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.completions import complete_run
from featx.cli.options import AbstainOption, CoverageOption, DeviceOption, JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.predictors.prediction import Prediction
    from featx.predictors.prediction_scores import RunScores
    from featx.reports.prediction_gallery import PredictionGallery

STANDARD_INPUT = "-"
N_UNREADABLE_SHOWN = 10


@dataclass
class _Totals:
    """Scores, number of images, unreadable images and warnings of all batches."""

    scores: "RunScores"
    n_images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)

    def add(self, predictions: "Mapping[str, Prediction]") -> None:
        """Count and score the images of a batch, and keep its unreadable images and warnings."""
        self.scores.add(predictions)
        first_prediction = next(iter(predictions.values()))
        self.n_images += len(first_prediction.images) + len(first_prediction.unreadable)
        self.unreadable |= first_prediction.unreadable
        self.warnings |= {warning: None for prediction in predictions.values() for warning in prediction.warnings}

    def check_any_readable(self) -> None:
        """Check that an image can be read, before files of earlier predictions are replaced.

        Raises
        ------
        DataError
            No image can be read.
        """
        from featx.errors import DataError

        if self.unreadable and len(self.unreadable) == self.n_images:
            count_text = "the image cannot" if self.n_images == 1 else f"none of the {self.n_images} images can"
            raise DataError(f"{count_text} be read, so that nothing is written: {_format_unreadable(self.unreadable)}")

    def to_json(self) -> dict[str, Any]:
        """Return the unreadable images, the warnings and the scores."""
        return {"unreadable": self.unreadable, "warnings": list(self.warnings), "scores": self.scores.to_json()}


def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Image files, a folder, an archive, an array file or one of its rows (tiles.h5#3), a label table, a "
            "URL, a pattern, or - for a list of paths on standard input.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            help="Runs, beginnings of their names, or folders of runs, which need no recipe (repeatable).",
            show_default="all",
            autocompletion=complete_run,
        ),
    ] = None,
    coverage: CoverageOption = None,
    abstain_below: AbstainOption = None,
    recipe: RecipeOption = None,
    device: DeviceOption = None,
    vectors: Annotated[
        Path | None,
        typer.Option(help="File of vectors (ids and x) instead of images, for runs on vectors made elsewhere."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write the predictions to this file: .csv, .jsonl or .parquet.",
            show_default="printed",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with the images and the predictions of all runs to this file.", show_default="none"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the prediction of each run for each image, or write them to a file.

    If the images lie in folders named as classes, or are listed by a label table with the columns of the target, their
    true values and the score of each run are printed as well.

    If some images are unreadable, the exit code is 3. If none can be read, no file is written, and the exit code is 1.

    Examples: featx predict new.png · featx predict photos/ --run weighted --output predictions.csv ·
    featx predict photos/ --html gallery.html · featx predict tiles.h5#3 ·
    find . -name '*.png' | featx predict - --json · featx predict *.png --abstain-below 0.8 --coverage 0.9
    """
    from featx.cli import console
    from featx.cli.prediction_table import print_predictions, print_scores
    from featx.cli.progress_bars import watching
    from featx.predictors.loading import predict_batches
    from featx.predictors.prediction_files import open_prediction_file
    from featx.predictors.prediction_scores import RunScores
    from featx.progress import no_progress

    totals, gallery = _Totals(RunScores()), _gallery_of(html)
    with ExitStack() as stack:
        write = stack.enter_context(open_prediction_file(output)) if output else None
        progress = stack.enter_context(watching() if output or html else nullcontext(no_progress))
        options: dict[str, Any] = {"device": device or "auto", "vectors": vectors, "progress": progress}
        with console.JsonList("predictions", totals.to_json) if json else nullcontext() as json_list:
            for predictions in predict_batches(list(_read_places(images or ())), recipe, runs=run or (), **options):
                predictions = _with_abstention(predictions, abstain_below)
                totals.add(predictions)
                if gallery:
                    gallery.add(predictions)
                rows = [row for name, prediction in predictions.items() for row in prediction.rows(name, coverage)]
                if write:
                    write(rows)
                if json_list:
                    json_list.add(rows)
                elif not (output or html):
                    print_predictions(predictions, coverage)
        totals.check_any_readable()
    if gallery and html:
        gallery.write(html)
    if not json:
        # The true value of a single image is printed beside its predictions.
        if totals.n_images > 1 or output or html:
            print_scores(totals.scores)
        _print_files(list(filter(None, (output, html))), totals)
    _report_totals(totals)


def _print_files(files: Sequence[Path], totals: _Totals) -> None:
    from featx.cli import console

    for file in files:
        console.show(f"wrote the predictions for {totals.n_images - len(totals.unreadable)} images to {file}")


def _gallery_of(html: Path | None) -> "PredictionGallery | None":
    """Return the gallery for a page.

    Raises
    ------
    DataError
        The file has another suffix than ``.html``.
    """
    from featx.errors import DataError

    if html is None:
        return None
    if html.suffix.lower() not in {".html", ".htm"}:
        raise DataError(f"--html {str(html)!r} has suffix {html.suffix!r}, expected .html")
    # The page needs matplotlib and jinja2.
    from featx.reports.prediction_gallery import PredictionGallery

    return PredictionGallery()


def _with_abstention(predictions: "dict[str, Prediction]", threshold: float | None) -> "dict[str, Prediction]":
    if threshold is None:
        return predictions
    return {name: prediction.with_abstention(threshold) for name, prediction in predictions.items()}


def _report_totals(totals: _Totals) -> None:
    """Print the warnings of all batches.

    Raises
    ------
    TooManyFailuresError
        Images are unreadable.
    """
    from featx.cli.text import message_text
    from featx.errors import TooManyFailuresError
    from featx.text.sanitising import sanitise_text

    for warning in totals.warnings:
        typer.echo(message_text(sanitise_text(f"warning: {warning}")), err=True)
    if totals.unreadable:
        n_unreadable, reasons = len(totals.unreadable), _format_unreadable(totals.unreadable)
        raise TooManyFailuresError(f"{n_unreadable} of {totals.n_images} images cannot be read: {reasons}")


def _read_places(places: Sequence[str]) -> Iterator[str]:
    """Yield the places; ``-`` stands for the lines of standard input."""
    for place in places:
        if place == STANDARD_INPUT:
            # Names of files need not be UTF-8.
            yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip())
        else:
            yield place


def _format_unreadable(reasons: Mapping[str, str]) -> str:
    descriptions = [f"{image!r} {reason}" for image, reason in list(reasons.items())[:N_UNREADABLE_SHOWN]]
    n_more = len(reasons) - len(descriptions)
    return "; ".join(descriptions) + (f"; and {n_more} more ('--json' lists all)" if n_more else "")
