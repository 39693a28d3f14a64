"""Lists of the images of train, val and test, beside labels that are in folders or in another table."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from featx.errors import DataError
from featx.images.label_files import find_images, find_table, make_path_rule, pop_paths, read_labels
from featx.images.label_tables import Candidate, examine_tables
from featx.images.names import base_name, split_words
from featx.images.path_columns import part_of_file
from featx.images.sources import is_tree, join_place, open_tree
from featx.images.split_columns import find_split_column
from featx.images.table_choice import has_same_path_rule, merge_specs
from featx.images.table_listing import list_tables
from featx.locations import is_url, resolve_source
from featx.specs.data import LabelsSpec, ReaderSpec

# Readers whose sources may have such lists.
READERS_WITH_LISTS = frozenset({"folder", "table", "annotations", "labelme", "one_hot"})
# A list of this name holds the images of train and val, from which a val part is cut.
TRAIN_AND_VAL = "trainval"


def find_part_lists(source: str, data: ReaderSpec, uris: Iterable[str]) -> tuple[LabelsSpec, tuple[str, ...]] | None:
    """Return how to read the lists of parts and their names in the source; None if a part has two, or there are none.

    Parameters
    ----------
    source
        The place that the user named: lists may be beside the folder of the class folders.
    data
        The way to read the source.
    uris
        Uris of the images of the study: lists of other images are not taken.
    """
    place = source if is_tree(source) else data.source
    if data.reader_name not in READERS_WITH_LISTS or is_url(place) or not is_tree(place):
        return None
    is_local = Path(place).is_dir() and Path(data.source).is_dir()
    if not is_local and place != data.source:
        return None
    tree = open_tree(place)
    label_files = data.labels.files if data.labels is not None else ()
    candidates = [c for c in examine_tables(tree, list_tables(tree))[0] if c.file not in label_files]
    images = frozenset(uris if candidates else ())
    candidates = [c for c in candidates if 2 * len(c.images & images) > len(c.images)]
    spec = _choose_lists(candidates)
    if spec is None or place == data.source:
        return None if spec is None else (spec, spec.files)
    steps = os.path.relpath(place, data.source)
    moved_paths = {"file": _add_steps(spec.file, steps), "root": _add_steps(spec.root, steps)}
    return spec.model_copy(update=moved_paths), spec.files


def _add_steps(paths: str | dict[str, str] | None, steps: str) -> str | dict[str, str] | None:
    """Return paths relative to a folder inside the one that they are relative to."""
    if isinstance(paths, dict):
        return {part: os.path.normpath(os.path.join(steps, path)) for part, path in paths.items()}  # noqa: PTH118
    return None if paths is None else os.path.normpath(os.path.join(steps, paths))  # noqa: PTH118


def _choose_lists(candidates: Sequence[Candidate]) -> LabelsSpec | None:
    candidates_by_part: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not len(candidate.frame.columns) and (part := _find_list_part(candidate.file)):
            candidates_by_part.setdefault(part, []).append(candidate)
    if "train" in candidates_by_part:
        candidates_by_part.pop(TRAIN_AND_VAL, None)
    lists = {part if part != TRAIN_AND_VAL else "train": files for part, files in candidates_by_part.items()}
    if lists.keys() - {"train"}:
        specs = [candidate.spec for files in lists.values() for candidate in files]
        if len(specs) > len(lists) or not all(has_same_path_rule(specs[0], spec) for spec in specs):
            return None
        return merge_specs({part: files[0] for part, files in lists.items()})
    tables = [c for c in candidates if len(c.frame.columns) == 1 and find_split_column(c.frame) is not None]
    return tables[0].spec if len(tables) == 1 else None


def _find_list_part(file: str) -> str | None:
    words = set(split_words(base_name(file)))
    if TRAIN_AND_VAL in words or ("train" in words and words & {"val", "valid", "validation"}):
        return TRAIN_AND_VAL
    return part_of_file(file)


def read_parts(data: ReaderSpec, folder: Path) -> dict[str, str]:
    """Return the part of each image that the lists of a source name, by the image's uri.

    Parameters
    ----------
    data
        The source, with `parts`.
    folder
        Folder that relative paths start from.

    Raises
    ------
    DataError
        a list is missing, or an image is in two parts.
    """
    spec = data.parts
    assert spec is not None
    tree = open_tree(resolve_source(data.source, folder))
    parts: dict[str, str] = {}
    for part, (file, root) in spec.tables.items():
        frame = read_labels(find_table(tree, file), spec)
        texts = pop_paths(frame, spec, file)
        if part is None and len(frame.columns) != 1:
            raise DataError(
                f"data.parts: {file} has {len(frame.columns)} columns beside the paths, expected one of parts"
            )
        values = [part] * len(texts) if part is not None else frame.iloc[:, 0].astype("str").tolist()
        place = tree.place if root == "." else join_place(tree.place, root)
        if ".." in root:
            place = os.path.normpath(place)
        entries, ids = find_images(open_tree(place), texts, make_path_rule(spec, root), file)
        for entry, name, value in zip(entries, ids, values, strict=True):
            if not entry.outcome and parts.setdefault(entry.uri, value) != value:
                raise DataError(
                    f"data.parts: {name!r} is in {parts[entry.uri]!r} and in {value!r}; expected each image in one part"
                )
    return parts
