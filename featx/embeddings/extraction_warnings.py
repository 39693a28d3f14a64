"""Warnings of an extraction: damaged tables, changes since the last one, empty parts, copied and clipped images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.embeddings.workers import Clipped
from featx.files.seals import read_sealed
from featx.images.value_ranges import format_value
from featx.specs.embedding import Decoding
from featx.study.embedding_lock import LockedEmbedding
from featx.study.extraction_tables import read_extracted
from featx.study.split_state import describe_split_change
from featx.study.splits import classes_without
from featx.study.study import Study
from featx.tables.manifest import Manifest
from featx.tables.truth import Truth


def remove_damaged_files(study: Study) -> list[str]:
    """Remove the tables that have changed since the last extraction wrote them; return a warning for each."""
    warnings = []
    for file in study.damaged_extraction():
        file.unlink()
        warnings.append(
            f"{file} is not as the last extraction wrote it, and is written again: the file was changed, the "
            "extraction was interrupted, or another version of featx wrote it"
        )
    return warnings


def moved_images(study: Study, parts: "pd.Series[str]") -> list[str]:
    """Return a warning for each of test and val whose images are in another part than in the last extraction."""
    file = study.folder / "split.parquet"
    if not file.is_file():
        return []
    previous_parts = read_extracted(study.folder, file.name).set_index("id")["part"]
    current_parts = parts.reindex(previous_parts.index)
    warnings = []
    for part in ("test", "val"):
        has_moved = (previous_parts == part) & current_parts.notna() & (current_parts != part)
        if n_moved := int(has_moved.sum()):
            new_parts = ", ".join(f"{n} to {name}" for name, n in current_parts[has_moved].value_counts().items())
            warnings.append(
                f"the split differs from that of the last extraction: {n_moved} of "
                f"{int((previous_parts == part).sum())} {part} images moved ({new_parts}); {_cause_of_moves(study)}"
            )
    return warnings


def _cause_of_moves(study: Study) -> str:
    state = study.folder / "split.json"
    change = describe_split_change(study.recipe, read_sealed(state)) if state.is_file() else "[split]"
    if change:
        return f"{change} changed"
    if study.recipe.split.method == "train_test_split":
        return "images or labels changed; split.method = 'hash' keeps the part of each image"
    return "images, labels or groups changed"


def empty_parts(study: Study, parts: "pd.Series[str]", truth: Truth) -> list[str]:
    """Return a warning for each part of the recipe's split that has no image, or lacks some of the classes."""
    spec, warnings = study.recipe.split, []
    next_step = "add images"
    if spec.method != "train_test_split":
        next_step += " or split by exact shares (split.method = 'train_test_split')"
    for part in ("test", "val"):
        is_empty = part not in set(parts)
        if is_empty and spec.sizes[part] == 0:
            continue
        classes = classes_without(parts, truth, part)
        if is_empty:
            warnings.append(f"no image is in {part}, so there are no {part} scores; {next_step}")
        elif classes and spec.stratify and len(truth.classes) > 1:
            warnings.append(
                f"{len(classes)} of {len(truth.classes)} classes have no image in {part}, first {classes[0]!r}; "
                f"{part} scores do not cover these classes; {next_step}"
            )
    return warnings


def precision_changes(
    previous_embeddings: Sequence[LockedEmbedding], current_embeddings: Sequence[LockedEmbedding]
) -> list[str]:
    """Return a warning for each embedding whose precision differs from that of the last extraction."""
    previous_precisions = {embedding.request: embedding.spec.precision for embedding in previous_embeddings}
    return [
        f"{embedding.request.name} was embedded in {previous_precisions[embedding.request]}, and is now embedded in "
        f"{embedding.spec.precision} ({embedding.reason}); run the heads and ensembles that use it again; set a "
        "precision in the recipe ('precision = \"fp32\"') to keep it when images are added"
        for embedding in current_embeddings
        if previous_precisions.get(embedding.request, embedding.spec.precision) != embedding.spec.precision
    ]


def copied_images(manifest: Manifest, parts: "pd.Series[str]", truths: Sequence[Truth]) -> list[str]:
    """Return a warning each for equal images in several parts, with different labels, and repeated in train."""
    is_copied = (manifest.digests != "") & pd.Index(manifest.digests).duplicated(keep=False)
    digests = pd.Series(manifest.digests[is_copied], index=pd.Index(manifest.ids[is_copied]))
    columns: list[tuple[str, NDArray[Any]]] = [("are in several parts", parts.to_numpy())]
    columns += [("have different labels", truth.codes) for truth in truths]
    warnings = []
    for problem, values in columns:
        n_values = pd.Series(values[is_copied]).groupby(digests.to_numpy()).nunique()
        differing_digests = n_values.index[n_values > 1]
        if differing_digests.size:
            warnings.append(
                f"{differing_digests.size} images with copies {problem}, first "
                f"{_first_two_ids(digests, differing_digests[0])}"
            )
    train_digests = digests[(parts.reindex(digests.index) == "train").to_numpy()]
    repeated_digests = train_digests[train_digests.duplicated(keep=False)]
    if len(repeated_digests):
        warnings.append(
            f"{repeated_digests.nunique()} images are in train {len(repeated_digests)} times, first "
            f"{_first_two_ids(repeated_digests, repeated_digests.iloc[0])}; "
            "copies of an image are always in the same fold"
        )
    return warnings


def clipped_images(manifest: Manifest, clipped: Clipped, decoding: Decoding) -> list[str]:
    """Return a warning if newly decoded images hold values outside of ``decoding.value_range``."""
    if not clipped or decoding.value_range is None:
        return []
    bounds = " to ".join(map(format_value, decoding.value_range))
    lowest_text = format_value(min(low for low, _ in clipped.values()))
    highest_text = format_value(max(high for _, high in clipped.values()))
    has_clipped = np.isin(manifest.digests.astype(str), list(clipped))
    return [
        f"{int(has_clipped.sum())} images hold values outside decoding.value_range ({bounds}), which are clipped: they "
        f"range from {lowest_text} to {highest_text}, first {manifest.ids[has_clipped][0]!r}; set a wider range if "
        "they matter"
    ]


def _first_two_ids(digests: "pd.Series[str]", digest: str) -> str:
    return " and ".join(map(repr, digests.index[digests == digest][:2]))
