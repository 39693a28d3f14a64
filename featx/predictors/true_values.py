"""True values of images to predict, from their class folders or from the label table that lists them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featx.files.column_types import category_text
from featx.images.parent_folders import list_parent_folders
from featx.predictors.cell_values import CellReader, TrueValue, list_names
from featx.predictors.prediction import Prediction
from featx.predictors.table_values import TableValues, list_counts
from featx.specs.target import TargetSpec
from featx.study.study import Study
from featx.tables.encoding import map_values

if TYPE_CHECKING:
    from featx.images.unlabelled import UnlabelledImages


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
        warnings = [*prediction.warnings, *self.warnings.get(prediction.target, [])]
        if not (values := self.by_target.get(prediction.target)):
            return prediction.with_true_values((), warnings)
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
    folders = {image: list_parent_folders(image, uri) for image, uri in zip(images.ids, images.uris, strict=True)}
    specs = {name: study.recipe.targets[name] for name in targets if name in study.recipe.targets}
    classes = {name: _classes_of_folders(folders, spec, targets[name]) for name, spec in specs.items()}
    has_labels = bool(images.tables) or any(classes.values())
    warnings: dict[str, list[str]] = {}
    values_by_target: dict[str, dict[str, TrueValue]] = {}
    readers = {
        name: CellReader(x, targets[name], _classes_by_text(study, name, x, targets[name])) for name, x in specs.items()
    }
    all_columns = frozenset(column for reader in readers.values() for column in reader.columns)
    for name, spec in specs.items():
        table = TableValues(name, readers[name], all_columns)
        for manifest in images.tables:
            table.add(manifest)
        unlisted_folders = {image: names for image, names in folders.items() if image not in table.ids}
        folder_values = {image: value for image, value in classes[name].items() if image in unlisted_folders}
        other_folders = {image: names for image, names in unlisted_folders.items() if image not in folder_values}
        warnings[name] = table.warnings()
        if spec.kind == "classes" and _are_class_folders(other_folders, folder_values, has_labels):
            warnings[name].append(_describe_others(other_folders, name, targets[name]))
        values_by_target[name] = folder_values | table.by_image
    test, train = (study.manifest.take(study.ids(part)).digests for part in ("test", "train"))
    opened_targets = frozenset(name for name in values_by_target if study.openings(name))
    return TrueValues(values_by_target, frozenset(test), frozenset(train), opened_targets, warnings)


def _classes_of_folders(
    folders: Mapping[str, Sequence[str]], spec: TargetSpec, classes: Sequence[str]
) -> dict[str, TrueValue]:
    """Return the class of each image in a folder that has the name of a class, the innermost such folder."""
    if spec.kind != "classes":
        return {}
    names = {image: [spec.map.get(folder, folder) for folder in names] for image, names in folders.items()}
    known_names = {image: [name for name in image_names if name in classes] for image, image_names in names.items()}
    return {image: image_names[-1] for image, image_names in known_names.items() if image_names}


def _are_class_folders(
    other_folders: Mapping[str, Sequence[str]], values: Mapping[str, TrueValue], has_labels: bool
) -> bool:
    """Return whether the folders of the images without a true value look as if they were meant as classes.

    They do if other folders are classes of this target, or if images are sorted into several folders and neither a
    folder nor a table gives a label of any target.
    """
    return bool(other_folders) if values else not has_labels and len({n[-1] for n in other_folders.values()}) > 1


def _describe_others(images: Mapping[str, Sequence[str]], target: str, classes: Sequence[str]) -> str:
    """Return a warning that names the innermost folders of images, none of which is a class."""
    counts = Counter(repr(folders[-1]) for folders in images.values())
    folders_text = f"{'folder' if len(counts) == 1 else 'folders'} {list_counts(counts)}"
    return (
        f"images in the {folders_text} have no true value, because no class of {target!r} is called so; classes: "
        f"{list_names(classes)}"
    )


def _classes_by_text(study: Study, target: str, spec: TargetSpec, names: Sequence[str]) -> dict[str, str]:
    """Return value of the label column → class: the value itself, or the name of a number in the recipe."""
    values_are_names = dict(zip(names, names, strict=True))
    if spec.classes is None or spec.bins is not None or spec.above is not None or spec.soft or spec.is_one_hot:
        return values_are_names
    truth = study.truth(target)
    texts = map_values(study.manifest_of(truth.ids).column(spec.column), spec).map(category_text)
    classes = dict(zip(texts, np.array(truth.classes, dtype=object)[truth.codes], strict=True))
    return classes if any(text != name for text, name in classes.items()) else values_are_names


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
