"""Look at a source, say what was found, and write a recipe for it."""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomlkit
from tomlkit import TOMLDocument, comment, nl
from tomlkit.items import AoT, InlineTable, Table

from featx.errors import DataError, ReadError
from featx.files.atomic import write_text
from featx.images.decode import size_of
from featx.images.names import PARTS, is_archive_name
from featx.images.readers import Reader, read_source
from featx.images.sources import read
from featx.images.table import unread_tables
from featx.locations import is_url, parted
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from featx.specs.ensembling import DEFAULT_VOTES
from featx.specs.recipe import DEFAULT_HEADS, parse_recipe
from featx.tables.encoding import category_text
from featx.tables.manifest import Manifest
from featx.text.escaping import escaped, escaped_json

MOST_CLASSES_OFFERED = 100
SIZES_LOOKED_AT = 500
CLASSES_IN_COMMENT = 12
COLUMNS_IN_COMMENT = 40


@dataclass(frozen=True)
class Recognition:
    """What lies at a source.

    Attributes
    ----------
    recipe
        The file that was written.
    reader
        The reader that recognised the source.
    n_found
        Images listed.
    target
        The column that the recipe predicts.
    classes
        Images of each of its values, the code's order.
    candidates
        All columns that could be predicted, with their number of different values.
    split_column, parts
        The column that says train, val or test, and the images of each, where the source gives parts.
    sizes_px
        The commonest "width×height", with their counts, among `n_measured` images.
    n_measured, n_unreadable
        Images whose header was read, and those of them where it could not be.
    ignored
        Rule → the number of files that it leaves out.
    warnings
        What should be looked at.
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
    """Look at `source` and write a commented recipe for it.

    Parameters
    ----------
    source
        A folder, an archive, an array file or a URL; or a label table beside the images.
    labels
        The label table, where there are several or none was recognised.
    target
        The column to predict; by default the first one with few different values.
    recipe
        The file to write.
    force
        Overwrite it.

    Raises
    ------
    DataError
        nothing was recognised, the recipe exists, or the target is no column.
    """
    source, recipe = str(source), Path(recipe)
    if recipe.exists() and not force:
        raise DataError(f"{recipe} exists; say '--force' to overwrite it, or use it as it is")
    if not is_url(source) and not Path(parted(source)[0]).exists():
        raise DataError(f"nothing lies at {source!r}; expected a folder of images, an archive or an array file")
    if (path := Path(parted(source)[0])).exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{source!r} is neither a file nor a folder; expected images, an archive or an array file")
    data = recognise(source, None if labels is None else str(labels))
    found = read_source(data.model_copy(update={"drop_unlabelled": True}), Path())
    manifest = found.manifest
    candidates = target_candidates(manifest)
    chosen = _chosen(manifest, candidates, target)
    counts = manifest.column(chosen).value_counts().sort_index().rename(index=category_text)  # numbers as numbers
    given = split_column(manifest)
    parts = manifest.labels[given].map(PARTS).value_counts() if given else pd.Series(dtype=int)
    sizes, n_measured, n_unreadable = _sizes(manifest)
    finding = Recognition(
        recipe=str(recipe),
        reader=data.reader_name,
        n_found=len(manifest),
        target=chosen,
        classes=_counted(counts),
        candidates=candidates,
        split_column=given,
        parts=_counted(parts),
        sizes_px=_counted(pd.Series(sizes, dtype=int)),
        n_measured=n_measured,
        n_unreadable=n_unreadable,
        ignored=dict(Counter(found.ignored.values()).most_common()),
        warnings=[*found.warnings, *([] if data.labels else unread_tables(source))],
    )
    write_text(recipe, _checked(_document(data, recipe, finding), recipe))
    return finding


def recognise(source: str, labels: str | None) -> ReaderSpec:
    """Return how to read `source`: the first reader that recognises it.

    Raises
    ------
    DataError
        none does.
    """
    if labels is not None and not Path(labels).is_file():
        raise DataError(f"nothing lies at {labels!r}; expected a CSV, TSV or Parquet file")
    readers: list[Reader] = [READERS.get(name)() for name in READERS.names()]
    for reader in sorted(readers, key=lambda one: one.rank):
        if data := reader.recognise(source, labels):
            return data
    if archive := _only_archive(source):
        return recognise(archive, labels)
    raise DataError(
        f"no reader recognises {source!r}; expected one sub-folder a class holding images, a CSV, TSV or Parquet table "
        "with a column of image paths, label files beside the images, or array files; in a folder, an archive or an "
        f"object store (readers: {', '.join(READERS.names())})"
    )


def _only_archive(source: str) -> str | None:
    """Return the archive that lies alone in a folder."""
    folder = Path(source)
    archives = [child for child in folder.iterdir() if is_archive_name(child.name)] if folder.is_dir() else []
    return str(archives[0]) if len(archives) == 1 else None


def target_candidates(manifest: Manifest) -> dict[str, int]:
    """Return the label columns that could be classes, with their number of different values."""
    given = split_column(manifest)
    counts = {name: manifest.labels[name].nunique() for name in manifest.labels.columns if name != given}
    limit = min(MOST_CLASSES_OFFERED, max(2, len(manifest) // 2))
    return {str(name): int(n) for name, n in counts.items() if 2 <= n <= limit}


def split_column(manifest: Manifest) -> str | None:
    """Return the label column that says train, val or test for every image; None where there is none."""
    for name in manifest.labels.columns:
        said = set(manifest.labels[name].unique())
        if "train" in said and said <= set(PARTS):
            return str(name)
    return None


def _chosen(manifest: Manifest, candidates: dict[str, int], target: str | None) -> str:
    if target is not None:
        manifest.column(target)
        return target
    if not candidates:
        found = ", ".join(f"{name} ({manifest.labels[name].nunique()})" for name in manifest.labels.columns) or "none"
        raise DataError(
            f"no label column has between 2 and {MOST_CLASSES_OFFERED} classes; columns (different values): {found}; "
            "name one with '--target COL'"
        )
    return next(iter(candidates))


def _sizes(manifest: Manifest) -> tuple[dict[str, int], int, int]:
    """Read an even sample of the images up to their headers."""
    at = np.unique(np.linspace(0, len(manifest) - 1, SIZES_LOOKED_AT, dtype=int))
    sizes: Counter[str] = Counter()
    n_unreadable = 0
    for uri in manifest.uris[at]:
        try:
            width, height = size_of(read(uri))
            sizes[f"{width}×{height}"] += 1
        except (ReadError, FileNotFoundError):
            n_unreadable += 1
    return dict(sizes.most_common(3)), len(at), n_unreadable


def _counted(series: "pd.Series[Any]") -> dict[str, int]:
    return {str(name): int(n) for name, n in series.items()}


def _document(data: ReaderSpec, recipe: Path, found: Recognition) -> TOMLDocument:
    """Write the recipe: what was found stands, what could be changed stands as a comment."""
    document = tomlkit.document()
    document.add(comment(f"Written by featx init; {found.n_found} images. Next: featx extract, fit, ensemble, report"))
    document.add(comment("(featx show FILE prints every setting, those left out here included)"))
    document.add(nl())
    document.add("data", _data_section(data, recipe))
    targets = tomlkit.table(is_super_table=True)
    targets.add(found.target, _target_section(found))
    document.add("targets", targets)
    document.add("split", _split_section(found))
    embedding = _table({"backbone": "efficientnet_lite0", "tap": "last", "pool": "avg"})
    embedding.comment("'featx backbones' lists what can be named; a list in tap or pool makes one embedding each")
    embedding.add(nl())
    document.add("embedding", _tables([embedding]))
    document.add("head", _tables([_table({"name": head, "trials": 10}) for head in DEFAULT_HEADS]))
    document.add(nl())
    document.add("ensemble", _table({"methods": list(DEFAULT_VOTES)}))
    return document


def _data_section(data: ReaderSpec, recipe: Path) -> Table:
    section = _table({"source": _relative(data.source, recipe)})
    if data.reader:
        section.add("reader", data.reader)
    if data.labels is not None:
        section.add("labels", _inline(data.labels.model_dump(exclude_defaults=True, mode="json")))
    section.add(comment("drop_unlabelled = true   # leaves out images without a label instead of stopping at them"))
    section.add(nl())
    arrays = []
    for one in data.arrays:
        table = _table({"images": one.images, "labels": _inline(one.labels)})
        if one.split:
            table.add("split", one.split)
        table.add(nl())
        arrays.append(table)
    if arrays:
        section.add("arrays", _tables(arrays))
    return section


def _target_section(found: Recognition) -> Table:
    numeric = all(name.lstrip("-").replace(".", "", 1).isdigit() for name in found.classes)
    others = [name for name in found.candidates if name != found.target]
    section = _table({"column": found.target})
    classes = tomlkit.item(list(found.classes)[:CLASSES_IN_COMMENT]).as_string()
    order = "names for these values, in this order" if numeric else "in the order of the codes"
    section.add(comment(escaped_json(f"classes = {classes}   # {order}")))
    if numeric:
        section.add(comment("above = 0.5   # two classes: what lies above, and the rest"))
    if others:
        listed = ", ".join(others[:COLUMNS_IN_COMMENT])
        section.add(comment(escaped(f"other columns that could be predicted: {listed}")))
    section.add(nl())
    return section


def _split_section(found: Recognition) -> Table:
    section = _table({"column": found.split_column} if found.split_column else {})
    section.comment("shares of the images; the test part stays sealed until 'featx evaluate --final'")
    for part, share in (("test", 0.2), ("val", 0.15)):
        if part in found.parts:
            section.add(comment(f"{part}: given by the source"))
        else:
            section.add(part, share)
    section.add("stratify", True)
    method = tomlkit.item("hash")
    method.comment('added images leave the others where they are; "train_test_split" cuts exact shares')
    section.add("method", method)
    section.add(comment('by = "COLUMN"   # keeps images of one group (patient, device, …) together'))
    section.add("seed", 0)
    section.add(nl())
    return section


def _table(fields: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    table.update(fields)
    return table


def _inline(fields: Mapping[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    table.update(fields)
    return table


def _tables(tables: Sequence[Table]) -> AoT:
    array = tomlkit.aot()
    for table in tables:
        array.append(table)
    return array


def _checked(document: TOMLDocument, recipe: Path) -> str:
    """Return the text of a document that loads back as it was meant, and is a recipe.

    Raises
    ------
    DataError
        a name in it cannot be written as TOML.
    """
    text = tomlkit.dumps(document)
    try:
        loaded = tomllib.loads(text.encode().decode())
    except (UnicodeEncodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{recipe} cannot be written: a path or column name is no Unicode text ({error})") from error
    if loaded != document.unwrap():
        raise DataError(f"{recipe} would not say what was found; report this as a bug, with the names of the columns")
    parse_recipe(loaded, recipe)
    return text


def _relative(source: str, recipe: Path) -> str:
    """Write the source as seen from the recipe where it lies below it, absolute otherwise."""
    if is_url(source):
        return source
    found, home = Path(source).resolve(), recipe.resolve().parent
    return found.relative_to(home).as_posix() if found.is_relative_to(home) else str(found)
