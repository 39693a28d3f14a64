"""Description of what the images and labels of a source were read from, and why other tables were not used."""

from featx.images.inventory import Inventory
from featx.images.label_columns import describe_target_objections
from featx.images.label_tables import TableReport
from featx.images.names import part_of
from featx.images.readers import Listing
from featx.images.table_listing import ANNOTATION_TABLE_USE, MAX_TABLES, OMITTED_TABLE_USE
from featx.images.unsupported_tables import explain_unsupported_tables
from featx.specs.data import ReaderSpec
from featx.tables.manifest import Manifest

MAX_TABLES_NAMED = 4
MAX_ARRAYS_NAMED = 4


def describe_choice(data: ReaderSpec, listing: Listing, inventory: Inventory, *, has_target: bool) -> list[str]:
    """Return what was taken and why other tables that name images were not, one sentence each.

    Parameters
    ----------
    data
        The way to read the source.
    listing
        The images.
    inventory
        The tables and the other files of the source.
    has_target
        Whether a target is proposed; otherwise the first sentence states why there is none.
    """
    tables = inventory.tables
    sentences = _describe_origin(data, listing.manifest)
    sentences += [f"used {table.file} ({table.format}): {table.reason}" for table in tables if table.is_used]
    unused_tables = [table for table in tables if not table.is_used and table.path]
    if not has_target:
        sentences.append(f"none: {explain_missing_labels(data, listing, inventory)}")
        # The sentence above has their reasons.
        unused_tables = []
    sentences += [f"not used: {table.file}: {table.reason}" for table in unused_tables[:MAX_TABLES_NAMED]]
    if len(unused_tables) > MAX_TABLES_NAMED:
        sentences.append(f"{len(unused_tables) - MAX_TABLES_NAMED} more tables are not used")
    return sentences


def _describe_origin(data: ReaderSpec, manifest: Manifest) -> list[str]:
    """Return what the labels were taken from if it is no table, as one sentence."""
    if data.reader_name == "folder":
        n_classes = manifest.labels["class"].nunique()
        return [f"the names of {n_classes} folders in {data.source} are the classes"]
    if data.labels is not None and data.labels.name is not None:
        return [f"{', '.join(map(str, manifest.labels.columns))} from the names of the images"]
    if data.arrays:
        specs = data.arrays[:MAX_ARRAYS_NAMED]
        pairs = "; ".join(f"{spec.images} with {', '.join(spec.labels.values()) or 'no labels'}" for spec in specs)
        return [f"rows of {pairs}"]
    return []


def explain_missing_labels(data: ReaderSpec, listing: Listing, inventory: Inventory) -> str:
    """Return the main reason why there is nothing to predict.

    Parameters
    ----------
    data
        The way to read the source.
    listing
        The images, with or without columns of labels.
    inventory
        The tables and the other files of the source.
    """
    labels = listing.manifest.labels
    if len(labels.columns):
        return f"no label column can be predicted: {describe_target_objections(labels)}"
    if data.reader_name == "arrays":
        unused_datasets = [name for name in listing.ignored if "#" in name][:MAX_ARRAYS_NAMED]
        datasets_text = f"; other datasets: {', '.join(unused_datasets)}" if unused_datasets else ""
        return f"no dataset has one row of labels for each image{datasets_text}"
    if data.reader_name == "datasets":
        return "no group, attribute or dataset of the file holds labels"
    if inventory.tables:
        return _join_reasons(inventory.tables)
    folders = sorted({name.rpartition("/")[0] for name in listing.manifest.ids})
    if len(folders) == 1:
        place = f"folder {folders[0]!r}" if folders[0] else "folder"
        return f"all images are in one {place}, and {_describe_no_table(listing, inventory)}"
    if all(map(part_of, folders)):
        names = ", ".join(map(repr, folders))
        return f"the part folders {names} hold no class folders, and {_describe_no_table(listing, inventory)}"
    return f"the images are not all in class folders, and {_describe_no_table(listing, inventory)}"


def _join_reasons(tables: tuple[TableReport, ...]) -> str:
    """Return why the first tables are not used, those that name images before the others."""
    # A table that names images is more likely to be meant.
    reports = sorted(tables, key=lambda table: table.path is None)[:MAX_TABLES_NAMED]
    reasons = "; ".join(f"{table.file} {table.reason.removeprefix(f'{table.file} ')}" for table in reports)
    n_others = len(tables) - len(reports)
    return reasons + (f"; {n_others} more tables (see 'featx init --explain')" if n_others else "")


def _describe_no_table(listing: Listing, inventory: Inventory) -> str:
    """Return that there is no table, apart from those that are not read."""
    if explanations := explain_unsupported_tables(listing.ignored):
        return explanations[0]
    n_annotations = inventory.uses.get(ANNOTATION_TABLE_USE, 0)
    if n_omitted := inventory.uses.get(OMITTED_TABLE_USE, 0):
        return f"{n_omitted} tables are not read, because there are more than {MAX_TABLES}; join them into one table"
    return f"the only tables are {n_annotations} annotations of single images" if n_annotations else "there is no table"
