"""Shortcuts: properties of files and pictures that predict the label, so that a model need not see what is shown."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.evaluation.paired_tests import holm
from featx.exploration.analysis import AnalysisResult, Highlight
from featx.exploration.explored_images import ExploredImages
from featx.exploration.property_codes import CodedProperty, Codes, NameWords, coded_properties, name_words
from featx.progress import ProgressCallback
from featx.tables.ids import sample_rows
from featx.tables.target_values import TargetValues

# Images that are tested, an even sample; more would not change what is found.
MAX_IMAGES = 20_000
MIN_IMAGES_PER_CLASS = 10
# Labels of one target that are tested, each against its absence.
MAX_LABELS = 20
ALPHA = 0.05
# Smallest area under the ROC curve of a shortcut. A property of the file has no reason to depend on the class; what a
# picture shows changes its brightness, contrast and sharpness, so that only a nearly perfect prediction is reported.
MIN_FILE_AUROC, MIN_PICTURE_AUROC = 0.7, 0.98
SEED = 0
# Images with the class, and as many without it, that are shown for a shortcut.
N_EXAMPLES = 6
COLUMNS = ["target", "property", "of", "label", "auroc", "p", "p_holm", "is_shortcut", "detail"]
EXAMPLE_COLUMNS = ["target", "property", "label", "id", "has_label", "value"]
PRESENT, ABSENT = "yes", "no"


@dataclass(frozen=True, eq=False)
class LabelTask:
    """Classes to predict from properties.

    Attributes
    ----------
    target
        Name of the target; for one of several labels, with the name of the label.
    ids
        (n,) ids of the images.
    codes
        (n,) class codes.
    names
        Names of the classes.
    """

    target: str
    ids: NDArray[np.object_]
    codes: Codes
    names: tuple[str, ...]


def find_shortcuts(images: ExploredImages, progress: ProgressCallback, seed: int = SEED) -> AnalysisResult:
    """Return the score of each property, and which are shortcuts.

    Parameters
    ----------
    images
        Measured images.
    progress
        Receives the progress by target.
    seed
        Seed of folds and permutations.

    Notes
    -----
    p-values are corrected over all properties of a target by Holm's method. Of copies, and of the images of one group
    of ``split.by``, only one is tested, because they are not independent.
    """
    is_measured = images.properties["width_px"].notna().to_numpy()
    usable_ids = pd.Index(images.ids[is_measured & _is_independent(images)])
    rows: list[tuple[Any, ...]] = []
    examples: list[tuple[Any, ...]] = []
    notes = [] if images.truths else ["there are no labels, so that no shortcuts are searched"]
    tasks = [task for target in images.truths for task in _tasks(images, target)]
    for number, task in enumerate(tasks):
        sampled_task = _choose(task, usable_ids)
        if sampled_task is None:
            reason = f"fewer than two classes of {task.target!r} have {MIN_IMAGES_PER_CLASS} independent images"
            notes.append(f"no shortcuts are searched: {reason}")
            continue
        task_rows, task_examples = _test(images, sampled_task, seed)
        rows += task_rows
        examples += task_examples
        progress("test shortcuts", number + 1, len(tasks))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.sort_values(["is_shortcut", "auroc"], ascending=False, kind="stable", ignore_index=True)
    tables = {"shortcuts": table, "shortcut_examples": pd.DataFrame(examples, columns=EXAMPLE_COLUMNS)}
    facts = {"n_tested": len(table), "n_shortcuts": int(table["is_shortcut"].sum())}
    return AnalysisResult(tables, facts, tuple(_highlights(table)), tuple(notes))


def _is_independent(images: ExploredImages) -> NDArray[np.bool_]:
    """Return whether each image is the first one with its content, and the first one of its group of ``split.by``."""
    frame = pd.DataFrame({"digest": images.digests}, index=pd.Index(images.ids))
    is_first = ~frame["digest"].duplicated().to_numpy()
    split_column = images.recipe.split.by
    columns = {**images.recipe.group_labels, **({split_column: split_column} if split_column else {})}
    grouping = next(
        (name for name, column in columns.items() if column == split_column and name in images.groups), None
    )
    if grouping is not None:
        # A random image of each group, since the first ones of a folder may be of one class.
        order = np.random.default_rng(SEED).permutation(len(frame))
        groups = images.groups[grouping].iloc[order]
        is_first &= pd.Series((~groups.duplicated() | groups.isna()).to_numpy(), index=order).sort_index().to_numpy()
    return is_first


def _tasks(images: ExploredImages, target: str) -> Iterator[LabelTask]:
    """Yield the classes of a target: its classes, fifths of its numbers, or each label against its absence."""
    truth = images.truths[target]
    if not len(truth.ids):
        return
    if truth.kind == "labels":
        for column, name in list(enumerate(truth.names))[:MAX_LABELS]:
            codes = truth.values[:, column].astype(np.int64)
            yield LabelTask(f"{target}: {name}", truth.ids, codes, (ABSENT, PRESENT))
    elif truth.kind == "classes":
        yield LabelTask(target, truth.ids, truth.values.astype(np.int64), truth.names)
    else:
        codes = TargetValues.of(truth).strata()
        yield LabelTask(target, truth.ids, codes, tuple(f"fifth {code + 1}" for code in range(codes.max() + 1)))


def _choose(task: LabelTask, usable_ids: pd.Index) -> LabelTask | None:
    """Return a sample of the usable images, of classes that have enough; None where fewer than two have."""
    positions = np.flatnonzero(pd.Index(task.ids).isin(usable_ids))
    positions = positions[sample_rows(len(positions), MAX_IMAGES)] if len(positions) > MAX_IMAGES else positions
    counts = np.bincount(task.codes[positions], minlength=len(task.names))
    large_classes = np.flatnonzero(counts >= MIN_IMAGES_PER_CLASS)
    if len(large_classes) < 2:
        return None
    positions = positions[np.isin(task.codes[positions], large_classes)]
    codes = np.searchsorted(large_classes, task.codes[positions])
    return replace(task, ids=task.ids[positions], codes=codes, names=tuple(task.names[code] for code in large_classes))


def _test(images: ExploredImages, task: LabelTask, seed: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return one row for each property, and examples of those that are shortcuts."""
    # scikit-learn takes a second to import.
    from featx.exploration.property_tests import score_properties

    rows = images.rows(task.ids)
    subset = replace(
        images,
        ids=images.ids[rows],
        digests=images.digests[rows],
        uris=images.uris[rows],
        parts=images.parts[rows],
        groups={name: values.iloc[rows] for name, values in images.groups.items()},
        properties=images.properties.iloc[rows],
    )
    labels = [task.names[code] for code in task.codes]
    properties = [item for item in coded_properties(subset, labels) if not item.is_constant]
    words = name_words(subset, labels)
    scores = score_properties(task.codes, properties, words, seed)
    values = {item.name: item for item in properties}
    result, examples = [], []
    for score, p_holm in zip(scores, holm([score.p for score in scores]), strict=True):
        limit = MIN_PICTURE_AUROC if score.is_of_picture else MIN_FILE_AUROC
        is_shortcut = bool(p_holm < ALPHA and score.auroc >= limit)
        label, has_label = task.names[score.label_code], task.codes == score.label_code
        item = values.get(score.name) or _word_property(score.name, words, score.word)
        kind = "picture" if score.is_of_picture else "file"
        detail = describe_difference(item, has_label)
        result.append((task.target, score.name, kind, label, score.auroc, score.p, p_holm, is_shortcut, detail))
        if is_shortcut:
            examples += [(task.target, score.name, label, *row) for row in _examples(task, item, has_label)]
    return result, examples


def _word_property(name: str, words: NameWords | None, word: str) -> CodedProperty:
    assert words is not None
    has_word = words.has_word[words.words.index(word)]
    return CodedProperty.of_texts(name, [repr(word) if is_in_name else f"no {word!r}" for is_in_name in has_word])


def describe_difference(item: CodedProperty, has_label: NDArray[np.bool_]) -> str:
    """Return how the values of images with the label differ from the others, as text."""
    label_values, other_values = item.values[has_label], item.values[~has_label]
    if item.values.dtype.kind == "f":
        return (
            f"median {np.nanmedian(label_values):.3g}{item.unit}, of the others "
            f"{np.nanmedian(other_values):.3g}{item.unit}"
        )
    shares = (
        pd.Series(label_values)
        .value_counts(normalize=True)
        .sub(pd.Series(other_values).value_counts(normalize=True), fill_value=0)
    )
    value = shares.abs().idxmax()
    return f"{_quoted(value)}: {np.mean(label_values == value):.0%}, of the others {np.mean(other_values == value):.0%}"


def _quoted(value: Any) -> str:
    text = str(value)
    return text if text.startswith(("'", "no '")) else repr(text)


def _examples(task: LabelTask, item: CodedProperty, has_label: NDArray[np.bool_]) -> Iterator[tuple[str, bool, str]]:
    """Yield id, whether it has the label, and value of some random images with the label and without it."""
    rng = np.random.default_rng(SEED)
    for is_inside in (True, False):
        candidates = np.flatnonzero(has_label == is_inside)
        for row in rng.choice(candidates, min(N_EXAMPLES, len(candidates)), replace=False):
            value = item.values[row]
            yield task.ids[row], is_inside, f"{value:.3g}{item.unit}" if item.values.dtype.kind == "f" else str(value)


def _highlights(table: pd.DataFrame) -> Iterator[Highlight]:
    for row in table[table["is_shortcut"]].to_dict("records"):
        yield Highlight(
            f"shortcut: {row['property']} predicts {row['label']!r} of {row['target']!r} (AUROC {row['auroc']:.2f}, "
            f"p {row['p_holm']:.2g}); {row['detail']}",
            rank=0,
        )
