"""Files of a source that may be label tables; tables with the names of images are annotations of these images."""

from collections.abc import Iterable
from functools import partial

from featx.files.table_files import TABLE_SUFFIXES
from featx.images.names import base_name
from featx.images.sources import shared
from featx.images.trees import Tree

# Number of tables of a source that are read. If there are more, only those at the top of the source are.
MAX_TABLES = 50
# Tables with the names of images are annotations of these only if at least this share of the images has one. A single
# plot, such as labels.png beside labels.csv, is not annotated.
MIN_SHARE_OF_ANNOTATED_IMAGES = 0.1
MIN_ANNOTATIONS = 2
ANNOTATION_TABLE_USE = "table that has the name of an image, and is taken for its annotation"
OMITTED_TABLE_USE = f"table that is not read, because there are more than {MAX_TABLES}"


def list_tables(tree: Tree) -> list[str]:
    """Return the files of a tree that may be label tables, without the annotations of single images."""
    return shared(("tables", tree.place), partial(_list_tables, tree))


def _list_tables(tree: Tree) -> list[str]:
    """Return the files of a tree that may be label tables."""
    annotations = list_annotation_tables(tree)
    tables = [name for name in _list_table_files(tree) if name not in annotations]
    if len(tables) > MAX_TABLES:
        tables = [name for name in tables if "/" not in name]
    return sorted(tables, key=lambda name: (name.count("/"), name))[:MAX_TABLES]


def explain_unread_tables(tree: Tree) -> dict[str, str]:
    """Return the reason by name of each table that `list_tables` leaves out."""
    annotations, tables = list_annotation_tables(tree), set(list_tables(tree))
    return {
        name: ANNOTATION_TABLE_USE if name in annotations else OMITTED_TABLE_USE
        for name in _list_table_files(tree)
        if name not in tables
    }


def list_annotation_tables(tree: Tree) -> frozenset[str]:
    """Return the tables of a tree that have the name of an image, if many images have such a table."""
    return shared(("annotation tables", tree.place), partial(_find_annotation_tables, tree))


def _find_annotation_tables(tree: Tree) -> frozenset[str]:
    """Return the tables that have the name of an image, in any folder, if many images have such a table."""
    tables = _list_table_files(tree)
    if not tables:
        return frozenset()
    image_stems = _list_stems(entry.name for entry in tree.entries().images if not entry.outcome)
    annotations = {name for name in tables if _find_stem(name) in image_stems}
    n_annotated = len(_list_stems(annotations))
    is_common = n_annotated >= max(MIN_ANNOTATIONS, MIN_SHARE_OF_ANNOTATED_IMAGES * len(image_stems))
    return frozenset(annotations if is_common or n_annotated == len(image_stems) else ())


def _list_table_files(tree: Tree) -> list[str]:
    files = tree.entries().readable(*TABLE_SUFFIXES)
    return [file.name for file in files if not base_name(file.name).startswith(".")]


def _list_stems(names: Iterable[str]) -> set[str]:
    return set(map(_find_stem, names))


def _find_stem(name: str) -> str:
    return base_name(name).rpartition(".")[0]
