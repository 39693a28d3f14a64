"""True values of images to predict, from their class folders or from the label table that lists them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from featx.errors import DataError
from featx.predictors.prediction import Prediction
from featx.specs.target import TargetSpec
from featx.study.study import Study
from featx.tables.encoding import category_text, encode_labels, encode_numbers, map_and_bin
from featx.tables.manifest import Manifest

if TYPE_CHECKING:
    from featx.images.unlabelled import UnlabelledImages

# A class name; the numbers of a target, or the names of the labels that an image has.
TrueValue = str | tuple[float, ...] | tuple[str, ...]
# Folders and classes that a warning names.
MAX_NAMES_SHOWN = 4
FOLDER_SEPARATORS = re.compile(r"[/\\!]+")


@dataclass(frozen=True)
class TrueValues:
    """True values of images by target; images of the test part have none as long as it is sealed.

    Attributes
    ----------
    by_target
        Name of a target → id of an image → true value.
    test_digests, train_digests
        Digests of the images of the test and of the train part of the study.
    opened
        Names of the targets whose test part has been opened.
    warnings
        Name of a target → reasons why images have no true value.
    """

    by_target: dict[str, dict[str, TrueValue]]
    test_digests: frozenset[str]
    train_digests: frozenset[str]
    opened: frozenset[str]
    warnings: dict[str, list[str]]

    def uses_test_labels(self, prediction: Prediction, digests: Mapping[str, str]) -> bool:
        """Return whether `add_to` gives a prediction true values of the test part, which has been opened before."""
        values = self.by_target.get(prediction.target, {})
        return prediction.target in self.opened and any(
            image in values and digests.get(image, "") in self.test_digests for image in prediction.images
        )

    def add_to(self, prediction: Prediction, digests: Mapping[str, str]) -> Prediction:
        """Return a prediction with the true values of its images.

        Parameters
        ----------
        digests
            Image → digest of its content.
        """
        if not (values := self.by_target.get(prediction.target)):
            return prediction
        image_digests = [digests.get(image, "") for image in prediction.images]
        has_value = [image in values for image in prediction.images]
        is_test = [
            is_known and digest in self.test_digests for is_known, digest in zip(has_value, image_digests, strict=True)
        ]
        is_opened = prediction.target in self.opened
        sealed = [is_tested and not is_opened for is_tested in is_test]
        true = [None if is_sealed else values.get(i) for i, is_sealed in zip(prediction.images, sealed, strict=True)]
        n_train = sum(
            value is not None and d in self.train_digests for value, d in zip(true, image_digests, strict=True)
        )
        warnings = [*prediction.warnings, *self.warnings.get(prediction.target, [])]
        if any(sealed):
            warnings.append(
                "some images belong to the sealed test part, so that their true values are not used; run 'featx "
                "evaluate --final' to score them"
            )
        elif any(is_test):
            warnings.append(
                "some images belong to the test part, which has been opened: their true values are used, and this is "
                "logged"
            )
        if n_train:
            warnings.append("some images belong to the train part, so that the scores on them are too high")
        return prediction.with_true_values(true, warnings)


def find_true_values(
    study: Study | None, images: "UnlabelledImages", targets: Mapping[str, Sequence[str]]
) -> TrueValues:
    """Return the true values of images, as far as folders or label tables state them.

    Parameters
    ----------
    study
        The study whose recipe describes the targets; without it no image has a true value.
    images
        The images to predict.
    targets
        Name of each predicted target → names of its classes, labels or numbers.
    """
    if study is None:
        return TrueValues({}, frozenset(), frozenset(), frozenset(), {})
    warnings: dict[str, list[str]] = {}
    values_by_target: dict[str, dict[str, TrueValue]] = {}
    for name, names in targets.items():
        if (spec := study.recipe.targets.get(name)) is None:
            continue
        values = _values_of_folders(images, spec, names) if spec.kind == "classes" else {}
        if values and (folders := _other_folders(images, values)):
            warnings[name] = [_describe_others(folders, name, names)]
        for manifest in images.tables:
            try:
                values |= _values_of_table(manifest, name, spec, names)
            except DataError as error:
                warnings.setdefault(name, []).append(f"no true values are read from the label table: {error}")
        values_by_target[name] = values
    test, train = (study.manifest.take(study.ids(part)).digests for part in ("test", "train"))
    opened_targets = frozenset(name for name in values_by_target if study.openings(name))
    return TrueValues(values_by_target, frozenset(test), frozenset(train), opened_targets, warnings)


def _values_of_folders(images: "UnlabelledImages", spec: TargetSpec, classes: Sequence[str]) -> dict[str, TrueValue]:
    """Return the class of each image in a folder that has the name of a class, the innermost such folder."""
    values: dict[str, TrueValue] = {}
    for image, uri in zip(images.ids, images.uris, strict=True):
        folders = _folders(image, uri)
        if names := [name for folder in folders if (name := spec.map.get(folder, folder)) in classes]:
            values[image] = names[-1]
    return values


def _folders(image: str, uri: str) -> list[str]:
    """Return the names of the folders of an image, the innermost one last."""
    # Ids are relative to a place, which may be the folder of one class.
    return [*FOLDER_SEPARATORS.split(unquote(uri))[-2:-1], *FOLDER_SEPARATORS.split(image)[:-1]]


def _other_folders(images: "UnlabelledImages", values: Mapping[str, TrueValue]) -> list[str]:
    """Return the innermost folders of the images without a true value, each once."""
    pairs = zip(images.ids, images.uris, strict=True)
    return list(dict.fromkeys(_folders(image, uri)[-1] for image, uri in pairs if image not in values))


def _describe_others(folders: Sequence[str], target: str, classes: Sequence[str]) -> str:
    n_more = len(folders) - MAX_NAMES_SHOWN
    remainder_text = f" and {n_more} more" if n_more > 0 else ""
    noun = "folder" if len(folders) == 1 else "folders"
    return (
        f"images in the {noun} {', '.join(map(repr, folders[:MAX_NAMES_SHOWN]))}{remainder_text} have no true "
        f"value, because no class of {target!r} is called so; classes: "
        f"{', '.join(map(repr, list(classes)[:MAX_NAMES_SHOWN]))}"
    )


def _values_of_table(manifest: Manifest, target: str, spec: TargetSpec, names: Sequence[str]) -> dict[str, TrueValue]:
    """Return the true values that a label table states; none if it lacks a column of the target.

    Raises
    ------
    DataError
        Values do not fit the target.
    """
    columns = list(spec.own_columns)
    if not set(columns) <= set(manifest.labels.columns):
        return {}
    rows = manifest.take(manifest.ids[manifest.labels[columns].notna().all(axis=1).to_numpy()])
    if spec.kind == "numbers":
        numbers = encode_numbers(rows, target, spec)
        return dict(zip(numbers.ids, map(tuple, numbers.values.tolist()), strict=True))
    if spec.kind == "labels":
        labels = encode_labels(rows, target, spec)
        texts = [tuple(np.array(labels.names)[row > 0].tolist()) for row in labels.values]
        return dict(zip(labels.ids, texts, strict=True))
    column = map_and_bin(rows.column(spec.column), target, spec)
    return dict(zip(rows.ids, _class_names(column, target, spec, names), strict=True))


def _class_names(column: Any, target: str, spec: TargetSpec, names: Sequence[str]) -> Iterable[str]:
    """Return the class of each value of a column.

    Raises
    ------
    DataError
        A value is no class, or the values do not tell which class they are.
    """
    if spec.above is not None:
        return [names[int(float(value) > spec.above)] for value in column]
    texts = [category_text(value) for value in column]
    unknown_texts = sorted(set(texts) - set(names))
    if not unknown_texts:
        return texts
    try:
        numbers = sorted(set(texts), key=float)
    except ValueError:
        numbers = []
    # Names in the recipe stand for the sorted numbers of its column; fewer numbers do not tell which they are.
    if spec.classes is not None and len(numbers) == len(names):
        names_by_number = dict(zip(numbers, spec.classes, strict=True))
        return [names_by_number[text] for text in texts]
    raise DataError(
        f"targets.{target}: column {spec.column!r} has the value {unknown_texts[0]!r}, expected one of "
        f"{', '.join(map(repr, list(names)[:8]))}"
    )


def score_images(prediction: Prediction) -> tuple[str, list[float]]:
    """Return the name of a score, and its value for each image that has a prediction and a true value.

    The score is ``accuracy`` of classes or labels, or ``mae`` of numbers; its value over all images is the mean.
    """
    rows = [i for i, value in enumerate(prediction.true) if value is not None]
    if prediction.kind == "numbers":
        errors = [np.abs(prediction.proba[i] - np.array(prediction.true[i])).mean() for i in rows]
        return "mae", [float(error) for error in errors]
    if prediction.kind == "classes":
        labels = prediction.labels
        return "accuracy", [float(labels[i] == prediction.true[i]) for i in rows if labels[i]]
    predicted = prediction.label_sets
    shares = [
        np.mean([(name in predicted[i]) == (name in prediction.true[i]) for name in prediction.classes]) for i in rows
    ]
    return "accuracy", [float(share) for share in shares]
