"""Recognition of an image source, and the recipe that is written for it."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomlkit
from tomlkit import TOMLDocument, comment, nl
from tomlkit.items import AoT, Table

from featx.errors import DataError, ReadError
from featx.files.atomic import write_text
from featx.images.containers.refusals import refuse_known_formats
from featx.images.decode import read_size
from featx.images.names import PARTS, is_archive_name
from featx.images.readers import Listing, Reader, read_source
from featx.images.sources import read_content
from featx.images.table import unreadable_table_warnings
from featx.locations import is_url, split_archive_place
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from featx.specs.ensembling import DEFAULT_VOTES
from featx.specs.recipe import DEFAULT_HEADS, parse_recipe
from featx.tables.encoding import category_text
from featx.tables.manifest import Manifest
from featx.text.escaping import escape_json, escape_text

# Number of different values up to which a column is offered as a target.
MAX_TARGET_CLASSES = 100
# Number of images whose headers are read for their sizes.
MAX_MEASURED_IMAGES = 500
MAX_CLASSES_IN_COMMENT = 12
MAX_COLUMNS_IN_COMMENT = 40


@dataclass(frozen=True)
class Recognition:
    """The images and labels that were recognised in a source.

    Attributes
    ----------
    recipe
        Path of the recipe that was written.
    reader
        Name of the reader that recognised the source.
    n_found
        Number of images.
    target
        Name of the column that the recipe predicts.
    classes
        Number of images by value of the target, in the order of the codes.
    candidates
        Number of different values of each column that could be the target.
    split_column
        Name of the column with the values train, val and test; None if the source gives no parts.
    parts
        Number of images by part; empty if the source gives no parts.
    sizes_px
        The most frequent "width×height", with their counts, among `n_measured` images.
    n_measured, n_unreadable
        Number of images whose headers were read, and number of those that could not be read.
    ignored
        Number of ignored files by rule.
    warnings
        Messages about files that the user should check.
    """

    recipe: str
    reader: str
    n_found: int
    target: str
    classes: dict[str, int]
    candidates: dict[str, int]
    split_column: str | None
    parts: dict[str, int]
    sizes_px: dict[str, int]
    n_measured: int
    n_unreadable: int
    ignored: dict[str, int]
    warnings: list[str]


def init(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    target: str | None = None,
    recipe: str | Path = "featx.toml",
    force: bool = False,
) -> Recognition:
    """Recognise the images and labels of a source, write a commented recipe, and return what was recognised.

    Parameters
    ----------
    source
        A folder, an archive, an array file or a URL; or a label table beside the images.
    labels
        Path of the label table, if there are several or none is recognised.
    target
        Name of the column to predict; by default the first one with at most `MAX_TARGET_CLASSES` different values.
    recipe
        Path of the recipe to write.
    force
        Whether to overwrite the recipe; False by default.

    Raises
    ------
    DataError
        the source is not recognised, the recipe exists, or the target is not a column.
    """
    source, recipe = str(source), Path(recipe)
    if recipe.exists() and not force:
        raise DataError(f"{recipe} exists; overwrite it with '--force', or use it as it is")
    _check_source(source)
    data = recognise(source, None if labels is None else str(labels))
    listing = read_source(data.model_copy(update={"drop_unlabelled": True}), Path())
    warnings = [*listing.warnings, *([] if data.labels else unreadable_table_warnings(source))]
    recognition = _describe(listing, str(recipe), data.reader_name, target, warnings)
    write_text(recipe, _dump_checked(_build_document(data, recipe, recognition), recipe))
    return recognition


def _check_source(source: str) -> None:
    """Check that a source is a URL, a file or a folder.

    Raises
    ------
    DataError
        it is not.
    """
    path = Path(split_archive_place(source)[0])
    if not is_url(source) and not path.exists():
        raise DataError(f"{source!r} does not exist; expected a folder of images, an archive or an array file")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{source!r} is neither a file nor a folder; expected images, an archive or an array file")


def _describe(listing: Listing, recipe: str, reader: str, target: str | None, warnings: list[str]) -> Recognition:
    manifest = listing.manifest
    candidates = find_target_candidates(manifest)
    target_column = _choose_target(manifest, candidates, target)
    # Numbers are sorted as numbers before they become text.
    class_counts = manifest.column(target_column).value_counts().sort_index().rename(index=category_text)
    split_column = find_split_column(manifest)
    parts = manifest.labels[split_column].map(PARTS).value_counts() if split_column else pd.Series(dtype=int)
    sizes, n_measured, n_unreadable = _measure_sizes(manifest)
    return Recognition(
        recipe=recipe,
        reader=reader,
        n_found=len(manifest),
        target=target_column,
        classes=_as_counts(class_counts),
        candidates=candidates,
        split_column=split_column,
        parts=_as_counts(parts),
        sizes_px=sizes,
        n_measured=n_measured,
        n_unreadable=n_unreadable,
        ignored=dict(Counter(listing.ignored.values()).most_common()),
        warnings=warnings,
    )


def recognise(source: str, labels: str | None) -> ReaderSpec:
    """Return how to read a source, from the first reader that recognises it.

    Parameters
    ----------
    source
        A folder, an archive, an array file, a label table or a URL.
    labels
        Path of the label table, or None.

    Raises
    ------
    DataError
        no reader recognises it.
    """
    if labels is not None and not Path(labels).is_file():
        raise DataError(f"{labels!r} does not exist; expected a CSV, TSV or Parquet file")
    readers: list[Reader] = [READERS.get(name)() for name in READERS.names()]
    for reader in sorted(readers, key=lambda reader: reader.rank):
        if data := reader.recognise(source, labels):
            return data
    if archive := _only_archive(source):
        return recognise(archive, labels)
    refuse_known_formats(source)
    raise DataError(
        f"no reader recognises {source!r}; expected one sub-folder per class with images, a CSV, TSV or Parquet table "
        "with a column of image paths, label files beside the images, or array files; in a folder, an archive or an "
        f"object store (readers: {', '.join(READERS.names())})"
    )


def _only_archive(source: str) -> str | None:
    """Return the archive in a folder if there is exactly one, otherwise None."""
    folder = Path(source)
    archives = [child for child in folder.iterdir() if is_archive_name(child.name)] if folder.is_dir() else []
    return str(archives[0]) if len(archives) == 1 else None


def find_target_candidates(manifest: Manifest) -> dict[str, int]:
    """Return the label columns that could be classes, with their number of different values."""
    split_column = find_split_column(manifest)
    counts = {name: manifest.labels[name].nunique() for name in manifest.labels.columns if name != split_column}
    limit = min(MAX_TARGET_CLASSES, max(2, len(manifest) // 2))
    return {str(name): int(n) for name, n in counts.items() if 2 <= n <= limit}


def find_split_column(manifest: Manifest) -> str | None:
    """Return the label column whose values are train, val or test for every image; None if there is none."""
    for name in manifest.labels.columns:
        values = set(manifest.labels[name].unique())
        if "train" in values and values <= set(PARTS):
            return str(name)
    return None


def _choose_target(manifest: Manifest, candidates: dict[str, int], target: str | None) -> str:
    if target is not None:
        manifest.column(target)
        return target
    if not candidates:
        columns = ", ".join(f"{name} ({manifest.labels[name].nunique()})" for name in manifest.labels.columns)
        raise DataError(
            f"no label column has between 2 and {MAX_TARGET_CLASSES} classes; columns (different values): "
            f"{columns or 'none'}; choose one with '--target COL'"
        )
    return next(iter(candidates))


def _measure_sizes(manifest: Manifest) -> tuple[dict[str, int], int, int]:
    """Return the most frequent sizes in an even sample of n images, n, and the number of unreadable ones."""
    rows = np.unique(np.linspace(0, len(manifest) - 1, MAX_MEASURED_IMAGES, dtype=int))
    sizes: Counter[str] = Counter()
    n_unreadable = 0
    for uri in manifest.uris[rows]:
        try:
            width, height = read_size(read_content(uri))
            sizes[f"{width}×{height}"] += 1
        except (ReadError, FileNotFoundError):
            n_unreadable += 1
    return dict(sizes.most_common(3)), len(rows), n_unreadable


def _as_counts(series: "pd.Series[Any]") -> dict[str, int]:
    return {str(name): int(n) for name, n in series.items()}


def _build_document(data: ReaderSpec, recipe: Path, recognition: Recognition) -> TOMLDocument:
    """Return the recipe as TOML: the recognised settings, and other useful settings as comments."""
    document = tomlkit.document()
    document.add(
        comment(f"Written by featx init; {recognition.n_found} images. Next: featx extract, fit, ensemble, report")
    )
    document.add(comment("(featx show FILE prints all settings, including those that are not set here)"))
    document.add(nl())
    document.add("data", _data_section(data, recipe))
    targets = tomlkit.table(is_super_table=True)
    targets.add(recognition.target, _target_section(recognition))
    document.add("targets", targets)
    document.add("split", _split_section(recognition))
    embedding = _toml_table({"backbone": "efficientnet_lite0", "tap": "last", "pool": "avg"})
    embedding.comment("'featx backbones' lists the names; a list in tap or pool makes one embedding per item")
    embedding.add(nl())
    document.add("embedding", AoT([embedding]))
    document.add("head", AoT([_toml_table({"name": head, "trials": 10}) for head in DEFAULT_HEADS]))
    document.add(nl())
    document.add("ensemble", _toml_table({"methods": list(DEFAULT_VOTES)}))
    return document


def _data_section(data: ReaderSpec, recipe: Path) -> Table:
    section = _toml_table({"source": _relative_to_recipe(data.source, recipe)})
    if data.reader:
        section.add("reader", data.reader)
    if data.labels is not None:
        labels = tomlkit.inline_table()
        labels.update(data.labels.model_dump(exclude_defaults=True, mode="json"))
        section.add("labels", labels)
    section.add(comment("drop_unlabelled = true   # leaves out images without a label instead of stopping at them"))
    section.add(nl())
    arrays = []
    for spec in data.arrays:
        labels = tomlkit.inline_table()
        labels.update(spec.labels)
        table = _toml_table({"images": spec.images, "labels": labels})
        if spec.split:
            table.add("split", spec.split)
        if spec.row_axis != "first":
            table.add("row_axis", spec.row_axis)
        table.add(nl())
        arrays.append(table)
    if arrays:
        section.add("arrays", AoT(arrays))
    return section


def _target_section(recognition: Recognition) -> Table:
    is_numeric = all(name.lstrip("-").replace(".", "", 1).isdigit() for name in recognition.classes)
    other_columns = [name for name in recognition.candidates if name != recognition.target]
    section = _toml_table({"column": recognition.target})
    classes = tomlkit.item(list(recognition.classes)[:MAX_CLASSES_IN_COMMENT]).as_string()
    order = "names for these values, in this order" if is_numeric else "in the order of the codes"
    section.add(comment(escape_json(f"classes = {classes}   # {order}")))
    if is_numeric:
        section.add(comment("above = 0.5   # two classes: values above, and all others"))
    if other_columns:
        listed = ", ".join(other_columns[:MAX_COLUMNS_IN_COMMENT])
        section.add(comment(escape_text(f"other columns that could be predicted: {listed}")))
    section.add(nl())
    return section


def _split_section(recognition: Recognition) -> Table:
    section = _toml_table({"column": recognition.split_column} if recognition.split_column else {})
    section.comment("shares of the images; the test part stays sealed until 'featx evaluate --final'")
    for part, share in (("test", 0.2), ("val", 0.15)):
        if part in recognition.parts:
            section.add(comment(f"{part}: given by the source"))
        else:
            section.add(part, share)
    section.add("stratify", True)
    method = tomlkit.item("hash")
    method.comment('added images do not move other images; "train_test_split" makes exact shares')
    section.add("method", method)
    section.add(comment('by = "COLUMN"   # keeps images of one group (patient, device, …) together'))
    section.add("seed", 0)
    section.add(nl())
    return section


def _toml_table(fields: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    table.update(fields)
    return table


def _dump_checked(document: TOMLDocument, recipe: Path) -> str:
    """Return the text of a document, once it is known to load back unchanged as a valid recipe.

    Raises
    ------
    DataError
        a name in it cannot be written as TOML.
    """
    text = tomlkit.dumps(document)
    try:
        loaded = tomllib.loads(text.encode().decode())
    except (UnicodeEncodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{recipe} cannot be written: a path or column name is not Unicode ({error})") from error
    if loaded != document.unwrap():
        raise DataError(f"{recipe} would not load back as written; report this as a bug, with the names of the columns")
    parse_recipe(loaded, recipe)
    return text


def _relative_to_recipe(source: str, recipe: Path) -> str:
    """Return the path of the source relative to the recipe's folder if it is below it, otherwise absolute."""
    if is_url(source):
        return source
    path, home = Path(source).resolve(), recipe.resolve().parent
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
