"""Copies among all images: equal files, and files that show the same picture, also in different parts of the split."""

from typing import Any

import numpy as np
import pandas as pd

from featx.embeddings.copies import ThumbnailHashes
from featx.embeddings.near_copies import MAX_IMAGES_TO_COMPARE, find_near_copies, find_pairs
from featx.exploration.analysis import AnalysisResult, Highlight, count_text
from featx.exploration.explored_images import ExploredImages
from featx.exploration.measurement import THUMBNAILS_FILE
from featx.images.hashes import ThumbnailCache
from featx.progress import ProgressCallback
from featx.study.near_copy_table import NearCopies

COLUMNS = ["id", "part", "copy", "copy_part", "kind", "similarity"]
NO_PAIRS = pd.DataFrame({"digest": [], "copy": [], "similarity": []})
EXACT_COPY, NEAR_COPY = "exact", "near"
# Comparing the embeddings of more images takes minutes.
MAX_IMAGES_BY_EMBEDDING = 20_000


def find_image_copies(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return pairs of copies, each copy beside the first image with its content.

    Pairs in different parts of the split come first, then pairs with different labels. Labels of the test part are
    sealed and not compared.
    """
    first_ids = pd.Series(images.ids, index=pd.Index(images.digests)).groupby(level=0, sort=False).first()
    near_pairs, notes = _near_pairs(images, first_ids, progress)
    table = pd.DataFrame([*_exact_pairs(images, first_ids), *near_pairs], columns=["id", "copy", "kind", "similarity"])
    parts = pd.Series(images.parts, index=pd.Index(images.ids))
    table["part"], table["copy_part"] = (parts.reindex(table[name]).to_numpy(object) for name in ("id", "copy"))
    table = table[COLUMNS]
    table["in_several_parts"] = (table["part"] != table["copy_part"]).astype(bool)
    table["labels_differ"] = _labels_differ(images, table)
    order = ["in_several_parts", "labels_differ", "similarity"]
    table = table.sort_values(order, ascending=False, kind="stable", ignore_index=True)
    facts = {
        "n_exact": int((table["kind"] == EXACT_COPY).sum()),
        "n_near": int((table["kind"] == NEAR_COPY).sum()),
        "n_in_several_parts": int(table["in_several_parts"].sum()),
        "n_labels_differ": int(table["labels_differ"].sum()),
    }
    return AnalysisResult({"copies": table}, facts, tuple(_highlights(table)), tuple(notes))


def _exact_pairs(images: ExploredImages, first_ids: "pd.Series[Any]") -> list[tuple[str, str, str, float]]:
    """Return each later image with a content, and the first one with it."""
    original_ids = first_ids.reindex(images.digests).to_numpy(object)
    rows = np.flatnonzero(original_ids != images.ids)
    return [(images.ids[row], original_ids[row], EXACT_COPY, 1.0) for row in rows]


def _near_pairs(
    images: ExploredImages, first_ids: "pd.Series[Any]", progress: ProgressCallback
) -> tuple[list[tuple[str, str, str, float]], list[str]]:
    """Return the first images of contents that show the same picture, and what was not compared."""
    copies, notes = _search_near_copies(images, list(first_ids.index), progress)
    pairs = copies.pairs
    image_pairs = pairs[pairs["digest"].isin(first_ids.index) & pairs["copy"].isin(first_ids.index)]
    ids, copy_ids = (first_ids.reindex(image_pairs[name]).to_numpy(object) for name in ("digest", "copy"))
    rows = zip(ids, copy_ids, image_pairs["similarity"], strict=True)
    return [(image_id, copy, NEAR_COPY, float(value)) for image_id, copy, value in rows], [*notes, *copies.notes]


def _search_near_copies(
    images: ExploredImages, digests: list[str], progress: ProgressCallback
) -> tuple[NearCopies, list[str]]:
    """Return the near copies among all images of the study, or among the explored ones only, and a note on the method.

    Parameters
    ----------
    digests
        Digests of the explored images, each once.
    """
    study = images.study
    # The search of a study compares all its images, of which the explored ones may be a small sample.
    n_contents = len(study.contents) if images.is_extracted else 0
    is_comparable = n_contents <= MAX_IMAGES_TO_COMPARE
    if images.is_extracted and is_comparable and (study.knows_copies or n_contents <= MAX_IMAGES_BY_EMBEDDING):
        return find_near_copies(study, progress), []
    if len(digests) > MAX_IMAGES_TO_COMPARE:
        return NearCopies(NO_PAIRS, n_not_compared=len(digests)), []
    cached_digests, hashes = _thumbnail_hashes(images, digests)
    copies = NearCopies(find_pairs(cached_digests, hashes, progress), n_unreadable=len(digests) - len(cached_digests))
    if not images.is_extracted:
        return copies, []
    advice = "'featx leaks' also compares embeddings" if is_comparable else "the study has too many for embeddings"
    return copies, [f"near copies were searched among the explored images, by thumbnails; {advice}"]


def _thumbnail_hashes(images: ExploredImages, digests: list[str]) -> tuple[list[str], ThumbnailHashes]:
    """Return the digests whose thumbnails were measured, and these."""
    reduced_decoding = images.recipe.decoding.model_copy(update={"reduced": True})
    with ThumbnailCache(images.study.cache.local_folder / THUMBNAILS_FILE, reduced_decoding) as cache:
        thumbnails = cache.known(digests)
    cached_digests = [digest for digest in digests if digest in thumbnails]
    greys = [thumbnails.pop(digest) for digest in cached_digests]
    return cached_digests, ThumbnailHashes(np.stack(greys) if greys else np.zeros((0, 1, 1), np.uint8))


def _labels_differ(images: ExploredImages, table: pd.DataFrame) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return whether the known labels of each pair differ for some target."""
    is_different = np.zeros(len(table), dtype=bool)
    for target, truth in images.truths.items():
        if truth.kind != "numbers":
            texts = images.label_texts(target)
            labels, copy_labels = (texts.reindex(table[name]).to_numpy(object) for name in ("id", "copy"))
            is_known = pd.notna(labels) & pd.notna(copy_labels)
            is_different |= is_known & (labels != copy_labels)
    return is_different


def _highlights(table: pd.DataFrame) -> list[Highlight]:
    highlights = []
    crossing_pairs, disagreeing_pairs = table[table["in_several_parts"]], table[table["labels_differ"]]
    n_exact = int((crossing_pairs["kind"] == EXACT_COPY).sum())
    if len(crossing_pairs):
        row = crossing_pairs.iloc[0]
        highlights.append(
            Highlight(
                f"copies in different parts make scores too high: {count_text(len(crossing_pairs), 'pair')} ({n_exact} "
                f"exact, {len(crossing_pairs) - n_exact} near), first {row['id']!r} ({row['part']}) and "
                f"{row['copy']!r} ({row['copy_part']})",
                rank=0,
            )
        )
    if len(disagreeing_pairs):
        row = disagreeing_pairs.iloc[0]
        highlights.append(
            Highlight(
                f"copies with different labels: {count_text(len(disagreeing_pairs), 'pair')}, first {row['id']!r} and "
                f"{row['copy']!r}",
                rank=1,
            )
        )
    n_inside = len(table) - len(crossing_pairs)
    if n_inside:
        row = table[~table["in_several_parts"]].iloc[0]
        text = f"copies in one part: {count_text(n_inside, 'pair')}, first {row['id']!r} and {row['copy']!r}"
        highlights.append(Highlight(text))
    return highlights
