"""Counts of images by class, part of the split and group, and their cross tables; random samples of each class."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from featx.exploration.analysis import AnalysisResult, Highlight
from featx.exploration.explored_images import ExploredImages
from featx.files.column_types import category_text
from featx.progress import ProgressCallback
from featx.specs.split import PARTS
from featx.tables.ids import Kind
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth
from featx.text.four_digits import count_distinguishing_digits, show_digits

LABELLED_PARTS = ("train", "val")
# A class with fewer labelled images than this is reported.
MIN_IMAGES_PER_CLASS = 10
# Ratio of the largest to the smallest class from which on it is reported.
MIN_IMBALANCE = 10
# Random images of each class, and number of classes of which images are shown.
SAMPLES_PER_CLASS, MAX_SAMPLED_CLASSES = 8, 50
# Number of groups of one grouping in the cross tables, the largest ones.
MAX_GROUPS = 50
SAMPLE_SEED = 0


def count_images(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the counts by class, part and group; labels of the test part are not counted."""
    counts = pd.concat([_class_counts(images, name) for name in images.truths] or [_no_counts()], ignore_index=True)
    numbers = pd.DataFrame(_number_rows(images))
    tables = {"class_counts": counts, "part_counts": _part_counts(images), "group_counts": _group_counts(images)}
    tables |= {"class_by_group": _class_by_group(images)} | ({"target_numbers": numbers} if len(numbers) else {})
    facts = {"imbalance": {name: _imbalance(rows["n"]) for name, rows in counts.groupby("target", sort=False)}}
    notes = [] if images.truths else ["there are no labels, so that nothing is counted by class"]
    if images.truths and (images.parts == "test").any():
        n_test = int((images.parts == "test").sum())
        notes.append(f"labels of the {n_test} images of the test part are sealed; counts by class leave them out")
    return AnalysisResult(tables, facts, tuple(_count_highlights(images, counts)), tuple(notes))


def sample_images(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return some random images of each class of each target, or of all images if there are no classes."""
    rng = np.random.default_rng(SAMPLE_SEED)
    rows: list[dict[str, Any]] = []
    for name in images.truths:
        members = class_members(images, name)
        for label in list(members)[:MAX_SAMPLED_CLASSES]:
            sampled_ids = rng.choice(members[label], min(SAMPLES_PER_CLASS, len(members[label])), replace=False)
            rows += [{"target": name, "label": label, "id": image_id} for image_id in sampled_ids]
    if not rows:
        sampled_ids = rng.choice(images.ids, min(3 * SAMPLES_PER_CLASS, len(images)), replace=False)
        rows = [{"target": "", "label": "", "id": image_id} for image_id in sampled_ids]
    return AnalysisResult({"samples": pd.DataFrame(rows, columns=["target", "label", "id"])})


def class_members(images: ExploredImages, target: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return the ids of the labelled images of each class or label of a target; numbers are split in fifths.

    Images with several labels are members of each of them.
    """
    truth = images.truths[target]
    if truth.kind == "labels":
        return {name: truth.ids[truth.values[:, column] == 1] for column, name in enumerate(truth.names)}
    if truth.kind == "classes":
        return {name: truth.ids[truth.values == code] for code, name in enumerate(truth.names)}
    codes = TargetValues.of(truth).strata()
    fifths = pd.Series(truth.values[:, 0]).groupby(codes).agg(["min", "max"])
    n_digits = count_distinguishing_digits(fifths["min"].tolist())
    return {
        f"{show_digits(low, n_digits)} to {show_digits(high, n_digits)}": truth.ids[codes == code]
        for code, low, high in fifths.itertuples(name=None)
    }


def _no_counts() -> pd.DataFrame:
    columns = {
        "target": "object",
        "label": "object",
        "n": "int64",
        "share": "float64",
        "train": "int64",
        "val": "int64",
    }
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def _class_counts(images: ExploredImages, target: str) -> pd.DataFrame:
    """Return the number of labelled images of each class, in all parts but test and by part."""
    n_labelled = len(images.truths[target].ids)
    parts_by_id = pd.Series(images.parts, index=pd.Index(images.ids))
    rows = []
    for label, ids in class_members(images, target).items():
        parts = parts_by_id.reindex(ids).to_numpy()
        counts = {part: int((parts == part).sum()) for part in LABELLED_PARTS}
        share = len(ids) / max(1, n_labelled)
        rows.append({"target": target, "label": label, "n": len(ids), "share": share, **counts})
    return pd.DataFrame(rows, columns=list(_no_counts().columns))


def _number_rows(images: ExploredImages) -> Iterator[dict[str, Any]]:
    """Yield mean, standard deviation and range of each column of targets of numbers."""
    for target, truth in images.truths.items():
        if truth.kind == "numbers":
            for column, name in enumerate(truth.names):
                values = truth.values[:, column]
                yield {
                    "target": target,
                    "number": name,
                    "n": len(values),
                    "mean": values.mean() if len(values) else np.nan,
                    "sd": values.std() if len(values) else np.nan,
                    "min": values.min(initial=np.inf),
                    "median": np.median(values) if len(values) else np.nan,
                    "max": values.max(initial=-np.inf),
                }


def _part_counts(images: ExploredImages) -> pd.DataFrame:
    counts = [int((images.parts == part).sum()) for part in PARTS]
    rows = [(part, n, n / len(images)) for part, n in zip(PARTS, counts, strict=True) if n]
    return pd.DataFrame(rows, columns=["part", "n", "share"])


def _group_names(images: ExploredImages, grouping: str) -> "pd.Series[Any]":
    return images.groups[grouping].map(category_text, na_action="ignore")


def _group_counts(images: ExploredImages) -> pd.DataFrame:
    """Return the number of images of each group, in all and by part, the largest groups first."""
    tables = []
    for grouping in images.groups:
        names = _group_names(images, grouping).to_numpy(object)
        table = pd.crosstab(names, images.parts).reindex(columns=list(PARTS), fill_value=0)
        sizes = pd.Series(names, dtype=object).value_counts().rename("n")
        sorted_table = table.reindex(sizes.index)
        sorted_table.insert(0, "n", sizes)
        sorted_table.insert(0, "group", sizes.index)
        sorted_table.insert(0, "grouping", grouping)
        tables.append(sorted_table)
    columns = ["grouping", "group", "n", *PARTS]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _class_by_group(images: ExploredImages) -> pd.DataFrame:
    """Return the number of labelled images of each class in each of the largest groups."""
    rows = []
    for grouping in images.groups:
        names = _group_names(images, grouping)
        largest = names.value_counts().index[:MAX_GROUPS]
        for target in images.truths:
            for label, ids in class_members(images, target).items():
                counts = names.reindex(ids).value_counts()
                rows += [(target, label, grouping, group, int(counts.get(group, 0))) for group in largest]
    return pd.DataFrame(rows, columns=["target", "label", "grouping", "group", "n"])


def _imbalance(counts: "pd.Series[int]") -> float | None:
    return None if not len(counts) or counts.min() == 0 else float(counts.max() / counts.min())


def _count_highlights(images: ExploredImages, counts: pd.DataFrame) -> Iterator[Highlight]:
    for target, truth in images.truths.items():
        rows = counts[counts["target"] == target].set_index("label")
        noun = _noun(truth)
        if truth.kind == "numbers":
            continue
        if len(rows) == 1:
            yield Highlight(f"target {target!r} has one {noun} only, {rows.index[0]!r}: nothing can be learnt", rank=0)
            continue
        rare_rows = rows[rows["n"] < MIN_IMAGES_PER_CLASS]
        if len(rare_rows):
            smallest = rare_rows.sort_values("n", kind="stable").iloc[0]
            yield Highlight(
                f"{len(rare_rows)} of {len(rows)} {_plural(truth)} of {target!r} have fewer than "
                f"{MIN_IMAGES_PER_CLASS} labelled images, the smallest {smallest.name!r} with {smallest['n']}",
                rank=1,
            )
        imbalance = _imbalance(rows["n"])
        if truth.kind == "classes" and imbalance is not None and imbalance >= MIN_IMBALANCE:
            yield Highlight(
                f"classes of {target!r} are unbalanced: {rows['n'].idxmax()!r} has {imbalance:.0f} times as many "
                f"images as {rows['n'].idxmin()!r}; accuracy alone would mislead"
            )
        yield from _empty_part_highlights(images, target, rows, noun)


def _empty_part_highlights(images: ExploredImages, target: str, rows: pd.DataFrame, noun: str) -> Iterator[Highlight]:
    for part in LABELLED_PARTS:
        empty_labels = rows.index[(rows[part] == 0) & (rows["n"] > 0)]
        if (images.parts == part).any() and len(empty_labels):
            yield Highlight(
                f"{noun} {empty_labels[0]!r} of {target!r} has no image in {part} ({len(empty_labels)} of {len(rows)})",
                rank=1,
            )


def _noun(truth: AnyTruth) -> str:
    nouns: dict[Kind, str] = {"classes": "class", "labels": "label", "numbers": "number"}
    return nouns[truth.kind]


def _plural(truth: AnyTruth) -> str:
    return str(truth.kind)
