"""Explored images that are made in memory, for tests of single analyses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_properties import COLUMNS, NUMBER_COLUMNS
from featx.specs.recipe import parse_recipe
from featx.study.study import Study
from featx.tables.truth import AnyTruth, Truth


def make_truth(ids: Sequence[str], labels: Sequence[str]) -> Truth:
    """Return the true classes of images, in alphabetical order of the classes."""
    names, codes = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    return Truth(np.asarray(ids, dtype=object), codes.astype(np.int64), tuple(map(str, names)))


def make_explored(  # noqa: PLR0913 (each test sets a few of them)
    ids: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    parts: Sequence[str] | None = None,
    truths: Mapping[str, AnyTruth] | None = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    properties: Mapping[str, Sequence[Any]] | None = None,
    data: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
) -> ExploredImages:
    """Return explored images; labels are those of the target "class", and properties that are not given are equal."""
    content: dict[str, Any] = {
        "data": {"source": "images", "reader": "table", **(data or {})},
        "targets": {"class": {"column": "class"}},
        "split": split or {},
        "embedding": [{"backbone": "toy"}],
    }
    if content["data"].get("reader") == "table":
        content["data"]["labels"] = {"file": "labels.csv"}
    recipe = parse_recipe(content, Path("featx.toml"))
    names = np.asarray(ids, dtype=object)
    labelled_ids = [name for name, part in zip(ids, parts or [""] * len(ids), strict=True) if part != "test"]
    truth = {} if labels is None else {"class": make_truth(ids, labels).take(labelled_ids)}
    values = {name: 0.5 if name in NUMBER_COLUMNS else "x" for name in COLUMNS}
    frame = pd.DataFrame({**values, **(properties or {})}, index=pd.Index(names))
    return ExploredImages(
        study=Study(recipe),
        ids=names,
        uris=names,
        digests=names,
        parts=np.asarray(parts if parts is not None else [""] * len(ids), dtype=object),
        truths=truth if truths is None else truths,
        groups={name: pd.Series(list(column), index=pd.Index(names)) for name, column in (groups or {}).items()},
        properties=frame,
        n_found=len(ids),
    )
