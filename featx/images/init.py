"""Recognition of an image source, and the recipe that is written for it."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.atomic import write_text
from featx.images.arrays import recognise_unlabelled_arrays
from featx.images.choice_description import describe_choice
from featx.images.class_folders import list_folder_warnings
from featx.images.class_sizes import SizeSettings, propose_folds, propose_size_settings
from featx.images.containers.dataset_images import recognise_unlabelled_datasets
from featx.images.containers.refusals import refuse_known_formats
from featx.images.decode import read_size
from featx.images.decoding_proposal import DecodingProposal, propose_decoding
from featx.images.folder import NO_LABEL_RULE
from featx.images.inventory import Inventory, describe_types, take_inventory
from featx.images.name_pattern import FIELD, NO_MATCH_RULE
from featx.images.names import is_archive_name
from featx.images.next_steps import suggest_next_step
from featx.images.part_lists import find_part_lists
from featx.images.readers import Listing, Reader, read_source
from featx.images.recipe_document import RecognisedSource, build_document, dump_checked
from featx.images.recognition_warnings import (
    list_label_warnings,
    list_part_warnings,
    list_shared_group_warnings,
    list_table_warnings,
    list_unused_label_warnings,
)
from featx.images.sources import is_tree, read_content, shared_listings
from featx.images.split_columns import find_column_parts
from featx.images.target_proposals import TargetProposals, count_classes, propose_targets
from featx.locations import is_url, split_archive_place
from featx.registry import READERS
from featx.specs.base import to_normal_form
from featx.specs.data import ReaderSpec
from featx.tables.ids import sample_rows
from featx.tables.manifest import Manifest

# Number of images whose headers are read for their sizes.
MAX_MEASURED_IMAGES = 500
# Readers whose labels are names of folders, groups or categories: each is one class, whatever characters it has.
NAME_READERS = frozenset({"folder", "npy_folders", "datasets", "coco", "labelme", "voc", "yolo", "one_hot", "id_lists"})


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
    choice
        What the images and labels were taken from, and which tables were not used, one sentence each.
    target
        Name of the target that the recipe predicts; empty if there are no labels.
    kind
        Kind of the target: ``classes``, ``labels`` or ``numbers``; empty if there are no labels.
    classes
        Number of images by value of the target, in the order of the codes.
    candidates
        Number of different values of each column that could be the target.
    split_column
        Name of the column with the parts of the split; None if the source gives no parts.
    parts
        Number of images by part; empty if the source gives no parts.
    group_column
        Name of the column whose groups the split keeps together; None if there is none.
    split_reason
        Reason for an exact split and fewer folds; empty if there is none.
    shares
        Share of the images in each part that the recipe cuts; empty if the source gives parts.
    sizes_px
        The most frequent "width×height", with their counts, among `n_measured` images.
    n_measured, n_unreadable
        Number of images whose headers were read, and number of those that could not be read.
    ignored
        Number of ignored files by rule.
    warnings
        Messages about files and labels that the user should check.
    decoding
        Settings of decoding that the images need, with their reasons.
    inventory
        All files of the source by type, folder and use, and its tables.
    """

    recipe: str
    reader: str
    n_found: int
    choice: list[str]
    target: str
    kind: str
    classes: dict[str, int]
    candidates: dict[str, int]
    split_column: str | None
    parts: dict[str, int]
    group_column: str | None
    split_reason: str
    shares: dict[str, float]
    sizes_px: dict[str, int]
    n_measured: int
    n_unreadable: int
    ignored: dict[str, int]
    warnings: list[str]
    decoding: DecodingProposal
    inventory: Inventory


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
        Path of the label table, if there are several or none is recognised; or a pattern of the images' names, such as
        ``{age:int}_{sex}``.
    target
        Name of the column to predict; by default the first one that could be a label.
    recipe
        Path of the recipe to write.
    force
        Whether to overwrite the recipe; False by default.

    Raises
    ------
    DataError
        the source is not recognised, several label tables fit, the recipe exists, or the target is not a column.
    """
    recipe = Path(recipe)
    _check_source(str(source))
    if recipe.exists() and not force:
        raise DataError(
            f"{recipe} exists; use it, write another recipe with '-r NAME.toml', or overwrite it with 'featx init "
            "SOURCE --force'"
        )
    text, recognition = propose_recipe(str(source), None if labels is None else str(labels), target, recipe)
    write_text(recipe, text)
    return recognition


@shared_listings()
def propose_recipe(source: str, labels: str | None, target: str | None, recipe: Path) -> tuple[str, Recognition]:
    """Return the text of the recipe for a source, and what was recognised; nothing is written.

    Parameters
    ----------
    source, labels, target
        Parameters of `init`.
    recipe
        Path that the recipe would have, which its relative paths start from.

    Raises
    ------
    DataError
        the source is not recognised, several label tables fit, or the target is not a column.
    """
    _check_source(source)
    target = target and to_normal_form(target)
    data = recognise(source, labels, target)
    data, listing, proposals = _read_labelled(data, source, labels, target)
    part_lists: tuple[str, ...] = ()
    lacks_parts = bool(proposals.targets) and proposals.split_column is None
    if lacks_parts and (lists := find_part_lists(source, data, listing.manifest.uris)):
        part_lists, data = lists[1], data.model_copy(update={"parts": lists[0]})
        listing = read_source(data.model_copy(update={"drop_unlabelled": True}), Path())
        proposals = _propose(data, listing, target)
    place = source if labels is None else data.source
    inventory = take_inventory(place, labels, target, listing, part_lists)
    classes = _count_classes(listing.manifest, proposals)
    sizes = (
        propose_size_settings(classes)
        if proposals.targets and proposals.targets[0].kind == "classes"
        else SizeSettings()
    )
    if proposals.group_column is not None:
        n_groups = listing.manifest.column(proposals.group_column).nunique()
        sizes = replace(sizes, folds=propose_folds(n_groups, sizes.folds))
    if _has_gaps(listing, proposals) or _drops_images(listing):
        data = data.model_copy(update={"drop_unlabelled": True})
    decoding = propose_decoding(listing.manifest.uris.tolist())
    recognised_source = RecognisedSource(data, listing.manifest, proposals, classes, sizes, decoding)
    text = dump_checked(build_document(recognised_source, recipe), recipe)
    return text, _describe(listing, str(recipe), recognised_source, inventory)


def _read_labelled(
    data: ReaderSpec, source: str, labels: str | None, target: str | None
) -> tuple[ReaderSpec, Listing, TargetProposals]:
    """Return how to read the images, the images, and their targets: without labels if class folders are no classes.

    Raises
    ------
    DataError
        the target that the user named is no label column.
    """
    listing = read_source(data.model_copy(update={"drop_unlabelled": True}), Path())
    _check_target(target, listing.manifest, source, labels)
    proposals = _propose(data, listing, target)
    if data.reader_name == "folder" and not proposals.targets:
        # One class, or images beside a folder: all images are embedded.
        data = ReaderSpec(source=data.source, reader="images")
        listing = read_source(data, Path())
        proposals = _propose(data, listing, target)
    return data, listing, proposals


def _propose(data: ReaderSpec, listing: Listing, target: str | None) -> TargetProposals:
    """Return the proposed targets; the names of folders and files are never lists of labels."""
    target_name = target if target in listing.manifest.labels.columns else None
    return propose_targets(listing.manifest, target_name, may_list_labels=data.reader_name not in NAME_READERS)


def _check_target(target: str | None, manifest: Manifest, source: str, labels: str | None) -> None:
    """Check that the target that the user named is a label column.

    Raises
    ------
    DataError
        it is not; the message lists the columns, those of tables that are not used included.
    """
    if target is None or target in manifest.labels.columns:
        return
    tables = take_inventory(source, labels, target, None).tables
    columns = [f"columns: {', '.join(map(str, manifest.labels.columns))}"] if len(manifest.labels.columns) else []
    columns += [f"columns of {table.file}: {', '.join(table.columns)}" for table in tables if table.path]
    raise DataError(f"no label column is called {target!r}; {'; '.join(columns) or 'there are no label columns'}")


def _check_source(source: str) -> None:
    """Check that a source is a URL, a file or a folder.

    Raises
    ------
    DataError
        it is not.
    """
    if not source:
        raise DataError("the source is empty; expected a folder of images, an archive or an array file")
    path, member_path = Path(split_archive_place(source)[0]), split_archive_place(source)[1]
    is_missing = not path.exists() or (bool(member_path) and not is_tree(source))
    if not is_url(source) and is_missing:
        raise DataError(f"{source!r} does not exist; expected a folder of images, an archive or an array file")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{source!r} is neither a file nor a folder; expected images, an archive or an array file")


def recognise(source: str, labels: str | None, target: str | None = None) -> ReaderSpec:
    """Return how to read a source, from the first reader that recognises it.

    Parameters
    ----------
    source
        A folder, an archive, an array file, a label table or a URL.
    labels
        Path of the label table, or pattern of the images' names; None if the user named none.
    target
        Name of the column to predict; None if the user named none.

    Raises
    ------
    DataError
        no reader recognises it.
    """
    if labels is not None and not Path(labels).is_file() and not FIELD.search(labels):
        raise DataError(
            f"{labels!r} does not exist; expected a label table (CSV, TSV, Parquet, Excel, JSON), or a pattern of the "
            "images' names such as '{age:int}_{sex}'"
        )
    readers: list[Reader] = [READERS.get(name)() for name in READERS.names()]
    for reader in sorted(readers, key=lambda reader: reader.rank):
        if data := reader.recognise(source, labels, target):
            return data
    if labels is None and (data := recognise_unlabelled_arrays(source) or recognise_unlabelled_datasets(source)):
        return data
    if archive := _only_archive(source):
        return recognise(archive, labels, target)
    refuse_known_formats(source)
    inventory = take_inventory(source, labels, target, None)
    raise DataError(
        f"no images with labels were recognised in {source!r}: found {describe_types(inventory.types)}; "
        f"{suggest_next_step(source, inventory)}"
    )


def _only_archive(source: str) -> str | None:
    """Return the archive in a folder if there is exactly one, otherwise None."""
    folder = Path(source)
    archives = [child for child in folder.iterdir() if is_archive_name(child.name)] if folder.is_dir() else []
    return str(archives[0]) if len(archives) == 1 else None


def _count_classes(manifest: Manifest, proposals: TargetProposals) -> dict[str, int]:
    """Return the number of images by class or label of the first target; empty for numbers and without a target."""
    return count_classes(manifest.labels, proposals.targets[0]) if proposals.targets else {}


def _has_gaps(listing: Listing, proposals: TargetProposals) -> bool:
    columns = proposals.targets[0].columns if proposals.targets else ()
    return any(listing.manifest.column(name).isna().any() for name in columns)


def _drops_images(listing: Listing) -> bool:
    """Whether images without a label were left out that the recipe would read without ``drop_unlabelled``."""
    return any(rule == NO_LABEL_RULE or rule.startswith(NO_MATCH_RULE) for rule in listing.ignored.values())


def _describe(listing: Listing, recipe: str, source: RecognisedSource, inventory: Inventory) -> Recognition:
    manifest, proposals, data = source.manifest, source.proposals, source.data
    split_column = proposals.split_column
    parts = find_column_parts(split_column, manifest.labels[split_column]) if split_column else None
    part_column = manifest.labels[split_column].map(lambda value: (parts or {}).get(str(value))) if parts else None
    sizes_px, n_measured, n_unreadable = _measure_sizes(manifest)
    proposal = proposals.targets[0] if proposals.targets else None
    return Recognition(
        recipe=recipe,
        reader=data.reader_name,
        n_found=len(manifest),
        choice=describe_choice(data, listing, inventory, has_target=bool(proposals.targets)),
        target=proposal.name if proposal else "",
        kind=proposal.kind if proposal else "",
        classes=dict(source.classes),
        candidates={
            proposal.name: int(manifest.labels[list(proposal.columns)].nunique().max())
            for proposal in proposals.targets
        },
        split_column=split_column,
        parts={} if part_column is None else _to_counts(part_column.value_counts()),
        group_column=proposals.group_column,
        shares={} if part_column is not None else {"test": source.sizes.test, "val": source.sizes.val},
        split_reason=source.sizes.reason if source.sizes.exact_split else "",
        sizes_px=sizes_px,
        n_measured=n_measured,
        n_unreadable=n_unreadable,
        ignored=dict(Counter(listing.ignored.values()).most_common()),
        warnings=_list_warnings(listing, source, inventory),
        decoding=source.decoding,
        inventory=inventory,
    )


def _list_warnings(listing: Listing, source: RecognisedSource, inventory: Inventory) -> list[str]:
    manifest, proposals, data = source.manifest, source.proposals, source.data
    return [
        *list_folder_warnings(data, manifest.labels, proposals.targets[0].name if proposals.targets else ""),
        *listing.warnings,
        *proposals.warnings,
        *([source.sizes.reason] if source.sizes.drop else []),
        *source.decoding.warnings,
        *list_part_warnings(manifest, proposals),
        *list_shared_group_warnings(manifest, proposals),
        *list_table_warnings(inventory.tables),
        *list_label_warnings(data, listing, proposals, inventory.tables),
        *list_unused_label_warnings(data, manifest, inventory.tables),
    ]


def _measure_sizes(manifest: Manifest) -> tuple[dict[str, int], int, int]:
    """Return the most frequent sizes in an even sample of n images, n, and the number of unreadable ones."""
    rows = sample_rows(len(manifest), MAX_MEASURED_IMAGES)
    sizes: Counter[str] = Counter()
    n_unreadable = 0
    for uri in manifest.uris[rows]:
        try:
            width, height = read_size(read_content(uri))
            sizes[f"{width}×{height}"] += 1
        except (ReadError, FileNotFoundError):
            n_unreadable += 1
    return dict(sizes.most_common(3)), len(rows), n_unreadable


def _to_counts(series: "pd.Series[Any]") -> dict[str, int]:
    return {str(name): int(n) for name, n in series.items()}
