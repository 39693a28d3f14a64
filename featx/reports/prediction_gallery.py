"""Page of predictions: images with the predictions of all runs side by side, and scores where true values are known."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featx.errors import ReadError
from featx.images.decode import decode
from featx.images.sources import read_content
from featx.metrics.score_texts import ScoreFormat
from featx.predictors.prediction import Prediction
from featx.predictors.prediction_scores import RunScores
from featx.predictors.prediction_texts import best_first, prediction_texts, true_text
from featx.predictors.true_values import score_images
from featx.reports.page.components import (
    Column,
    Component,
    ConfusionMatrix,
    Details,
    Gallery,
    GalleryItem,
    Items,
    Picture,
    Section,
    Table,
    Text,
)
from featx.reports.page.page import Page
from featx.reports.pictures import UNREADABLE, encode_thumbnail
from featx.specs.embedding import Decoding

# Images of a target that a page shows: of each kind of result, those that come first. A picture takes about 5 kB, and
# 20 predictions about 2 kB, so that a page of one target stays below 4 MB.
MAX_IMAGES_SHOWN = 400
MAX_UNREADABLE_SHOWN = 200
RIGHT, WRONG, DISAGREE = "right", "wrong", "runs disagree"
# What the images of each kind of result have in common.
KIND_TEXTS = {
    WRONG: "that the best run predicts wrongly",
    RIGHT: "that the best run predicts rightly",
    DISAGREE: "that runs disagree on",
    "": "that all runs predict alike",
}
# Number of runs up to which each run has its own line below an image; the predictions of more are grouped.
MAX_SEPARATE_RUNS = 4
# Number of classes whose images are counted in the summary.
MAX_CLASSES_IN_SUMMARY = 8
# Larger matrices are wider than a page.
MAX_CLASSES_IN_MATRIX = 30


@dataclass
class _TargetImages:
    """Images of one target that are shown, by what is interesting about them, and how many there are of each kind.

    ``run`` is the label of the best run, and ``n_by_class`` has the number of images of each class that it predicts.
    """

    run: str
    items: dict[str, list[GalleryItem]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    n_by_class: Counter[str] = field(default_factory=Counter)


class PredictionGallery:
    """Collects predictions batch by batch, in memory that does not grow with the number of images.

    Parameters
    ----------
    max_images
        Number of images of each target whose pictures are kept.
    """

    def __init__(self, max_images: int = MAX_IMAGES_SHOWN) -> None:
        self._max_images = max_images
        self._scores = RunScores()
        self._targets: dict[str, _TargetImages] = {}
        self._unreadable: dict[str, str] = {}
        self._n_unreadable = 0
        self._n_images = 0
        self._warnings: dict[str, None] = {}

    def add(self, predictions: Mapping[str, Prediction]) -> None:
        """Add a batch: run name → prediction of the same images."""
        self._scores.add(predictions)
        first_prediction = next(iter(predictions.values()))
        self._n_images += len(first_prediction.images)
        self._n_unreadable += len(first_prediction.unreadable)
        n_remaining = MAX_UNREADABLE_SHOWN - len(self._unreadable)
        self._unreadable |= dict(list(first_prediction.unreadable.items())[:n_remaining])
        self._warnings |= dict.fromkeys(text for prediction in predictions.values() for text in prediction.warnings)
        targets = dict.fromkeys(prediction.target for prediction in predictions.values())
        for target in targets:
            self._add_target(target, {run: item for run, item in predictions.items() if item.target == target})

    def _add_target(self, target: str, predictions: Mapping[str, Prediction]) -> None:
        """Keep the first images of each kind of result of a batch."""
        sorted_predictions = [prediction for _, prediction in best_first(predictions)]
        target_images = self._targets.setdefault(target, _TargetImages(sorted_predictions[0].label))
        texts = [prediction_texts(prediction) for prediction in sorted_predictions]
        run_labels = [prediction.labels for prediction in sorted_predictions]
        results = _results(sorted_predictions[0])
        if sorted_predictions[0].kind == "classes":
            target_images.n_by_class.update(label or "no class" for label in sorted_predictions[0].labels)
        for row in range(len(sorted_predictions[0].images)):
            kind = results.get(row) or (DISAGREE if len({labels[row] for labels in run_labels}) > 1 else "")
            target_images.counts[kind] = target_images.counts.get(kind, 0) + 1
            items = target_images.items.setdefault(kind, [])
            if len(items) < self._max_images:
                items.append(_item(row, sorted_predictions, [text[row] for text in texts], kind, results.get(row)))

    def page(self, title: str = "Predictions") -> Page:
        """Return the page."""
        n_runs = len(self._scores.by_run)
        subtitle = f"{self._n_images:,} images, {n_runs} {'run' if n_runs == 1 else 'runs'}"
        sections = [Section(f"Images: {target}", [self._gallery(target)]) for target in self._targets]
        scored_targets = [target for target in self._targets if self._scores.of_target(target)]
        sections += [
            Section(f"Scores: {target}", list(_score_components(target, self._scores))) for target in scored_targets
        ]
        if self._n_unreadable:
            sections.append(Section("Unreadable images", list(self._unreadable_components())))
        return Page(title, subtitle, [Section("Summary", list(self._summary())), *sections])

    def write(self, path: Path) -> None:
        """Write the page to a file."""
        self.page().write(path)

    def _summary(self) -> Iterator[Component]:
        unreadable_text = f"{self._n_unreadable:,} cannot be read" if self._n_unreadable else "all could be read"
        yield Text(f"{self._n_images:,} images were predicted, {unreadable_text}.", "summary")
        for target, target_images in self._targets.items():
            if target_images.n_by_class:
                yield Text(
                    f"{target}: {target_images.run} predicts {_class_counts(target_images.n_by_class)}.", "summary"
                )
            scores = sorted(self._scores.of_target(target).values(), key=lambda score: -score.n)
            if scores:
                score = scores[0]
                score_format, interval = ScoreFormat.of(score.score, [score.value]), score.interval
                edges = "" if interval is None else f" (95 % interval {' … '.join(map(score_format.show, interval))})"
                yield Text(
                    f"{target}: {score.label} has {score.score} {score_format.show(score.value)}{edges} on the "
                    f"{score.n:,} {'image' if score.n == 1 else 'images'} with a true value."
                )
        for warning in self._warnings:
            yield Text(warning, "warning")

    def _gallery(self, target: str) -> Gallery:
        """Return the images of a target: wrong ones first, then those that runs disagree on, then the others."""
        target_images = self._targets[target]
        kinds = sorted(target_images.items, key=lambda kind: [WRONG, DISAGREE, "", RIGHT].index(kind))
        items: list[GalleryItem] = []
        parts = []
        for number, kind in enumerate(kinds):
            # Kinds with few images leave their share to the others.
            share = (self._max_images - len(items)) // (len(kinds) - number)
            new_items = target_images.items[kind][:share]
            items += new_items
            parts.append(f"{len(new_items)} of {target_images.counts[kind]:,} {KIND_TEXTS[kind]}")
        total = sum(target_images.counts.values())
        caption = f"{len(items)} of {total:,} images: {', '.join(parts)}. The first prediction is that of the best run."
        return Gallery(f"images-{target}", caption, items)

    def _unreadable_components(self) -> Iterator[Component]:
        n_left_out = self._n_unreadable - len(self._unreadable)
        listing_text = f", the first {len(self._unreadable)} of them are listed" if n_left_out else ""
        yield Text(f"{self._n_unreadable} images cannot be read{listing_text}.")
        yield Items([f"{image}: {reason}" for image, reason in self._unreadable.items()])


def _results(prediction: Prediction) -> dict[int, str]:
    """Return row → whether the prediction is right, for classes and labels whose true value is known."""
    if prediction.kind == "numbers" or not prediction.true:
        return {}
    rows = [
        row
        for row, value in enumerate(prediction.true)
        if value is not None and (prediction.kind == "labels" or prediction.labels[row])
    ]
    _, values = score_images(prediction)
    return {row: RIGHT if value == 1 else WRONG for row, value in zip(rows, values, strict=True)}


def _item(
    row: int, predictions: Sequence[Prediction], texts: Sequence[str | None], kind: str, result: str | None
) -> GalleryItem:
    """Return an image with its true value and the predictions of all runs, the best run first."""
    best = predictions[0]
    true = best.true[row] if best.true else None
    lines = [] if true is None else [f"true: {true_text(best, true)}"]
    n_separate = len(predictions) if best.kind != "classes" or len(predictions) <= MAX_SEPARATE_RUNS else 1
    lines += [
        f"{prediction.label}: {text or '–'}"
        for prediction, text in list(zip(predictions, texts, strict=True))[:n_separate]
    ]
    lines += _grouped_predictions(row, predictions[n_separate:])
    tags = {} if best.kind == "numbers" else {"prediction": best.labels[row] or "none"}
    if true is not None and best.kind != "numbers":
        tags |= {"true": true_text(best, true) or "none", "result": result or "no prediction"}
    elif kind == DISAGREE:
        tags["result"] = DISAGREE
    picture = _picture(best.uris[row], best.decoding) if best.uris else Picture(note="no image")
    return GalleryItem(best.images[row], [picture], lines, tags)


def _grouped_predictions(row: int, predictions: Sequence[Prediction]) -> list[str]:
    """Return one line per class, the one that most runs predict first, with these runs and their probabilities."""
    texts_by_class: dict[str, list[str]] = {}
    for prediction in predictions:
        text = f"{prediction.label} {prediction.label_proba[row]:.2f}"
        texts_by_class.setdefault(prediction.labels[row] or "no class", []).append(text)
    sorted_groups = sorted(texts_by_class.items(), key=lambda item: -len(item[1]))
    return [
        f"{len(texts)} {'other' if len(texts) == 1 else 'others'} {label}: {', '.join(texts)}"
        for label, texts in sorted_groups
    ]


def _class_counts(counts: Counter[str]) -> str:
    """Return the most frequent classes with their numbers of images."""
    texts = [f"{label} for {n:,}" for label, n in counts.most_common(MAX_CLASSES_IN_SUMMARY)]
    n_left_out = len(counts) - len(texts)
    return ", ".join(texts) + (f" and {n_left_out} more classes" if n_left_out > 0 else "") + " images"


def _picture(uri: str, decoding: Decoding | None) -> Picture:
    try:
        return Picture(encode_thumbnail(decode(read_content(uri), decoding or Decoding())))
    except (ReadError, FileNotFoundError):
        return Picture(note=UNREADABLE)


def _score_components(target: str, scores: RunScores) -> Iterator[Component]:
    """Yield the scores of the runs of a target, and the confusion matrix of each."""
    scores_by_run = scores.of_target(target)
    name = next(iter(scores_by_run.values())).score
    number_format = ScoreFormat.of(name, [score.value for score in scores_by_run.values()]).value
    columns = [Column("run"), *(Column(title, number_format) for title in (name, "95 % from", "95 % to"))]
    rows = [[score.label, score.value, *(score.interval or (None, None)), score.n] for score in scores_by_run.values()]
    caption = "Scores on the images with a true value, images being independent."
    yield Table(f"scores-{target}", caption, [*columns, Column("images", "d")], rows)
    for run, score in scores_by_run.items():
        if score.kind == "classes" and len(score.classes) <= MAX_CLASSES_IN_MATRIX:
            matrix = ConfusionMatrix(
                f"confusion-{run}", f"Predictions of {score.label}.", score.classes, score.confusion
            )
            yield Details(f"Confusion matrix of {score.label}", [matrix])
