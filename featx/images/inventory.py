"""Inventory of a source: its files by type, by folder and by what they were taken for, and its tables."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.files.table_files import TABLE_SUFFIXES
from featx.images.containers.categories import ANNOTATION_RULES
from featx.images.id_lists import JOINED_RULE
from featx.images.label_tables import TableReport
from featx.images.names import file_suffix, is_archive_name, is_image_name
from featx.images.readers import Listing
from featx.images.sources import URI_SCHEME, is_tree, open_tree
from featx.images.table_choice import TableChoice, examine_source, split_table_place
from featx.images.table_listing import explain_unread_tables
from featx.images.trees import Entries, Entry, Tree

# Number of folders that an inventory lists.
MAX_FOLDERS = 200
N_TYPES_NAMED = 6
# Schemes of uris of files: members of archives, and files with unusual names.
MEMBER_SCHEMES = frozenset({"member", "nested", "file"})
NO_SUFFIX = "no suffix"


@dataclass(frozen=True)
class Inventory:
    """All files of a source.

    Attributes
    ----------
    n_files
        Number of files.
    types
        Number of files by type: the suffix of the name, ``no suffix``, or ``linked folder``.
    folders
        Number of files by folder of the top two levels, and by type.
    tables
        What was found in each table.
    uses
        Number of files by what they were taken for: ``image``, ``label table``, or the rule that leaves them out.
    """

    n_files: int = 0
    types: dict[str, int] = field(default_factory=dict)
    folders: dict[str, dict[str, int]] = field(default_factory=dict)
    tables: tuple[TableReport, ...] = ()
    uses: dict[str, int] = field(default_factory=dict)


def take_inventory(
    source: str,
    labels: str | None,
    target: str | None,
    listing: Listing | None,
    part_lists: Collection[str] = (),
) -> Inventory:
    """Return the inventory of a source.

    Parameters
    ----------
    source, labels, target
        Arguments of `featx.images.init.init`.
    listing
        The images that were recognised; None if the source is not recognised.
    part_lists
        Names of the lists of parts that are taken.
    """
    place, label_table = split_table_place(source, labels)
    if not is_tree(place):
        return Inventory(1, {find_file_type(Path(place).name): 1}, uses={"array file": 1} if listing else {})
    tree = open_tree(place)
    entries = tree.entries()
    folders: dict[str, Counter[str]] = {}
    for (folder, entry_type), n in _count_types(entries).items():
        folders.setdefault(folder, Counter())[entry_type] += n
    types = sum(folders.values(), Counter())
    is_table = label_table is not None and Path(label_table).is_file()
    if is_table or (label_table is None and types.keys() & set(TABLE_SUFFIXES)):
        tables = examine_source(place, label_table, target)
    else:
        tables = TableChoice(None, (), {})
    if listing is not None:
        tables = _mark_lists(tables, listing, part_lists)
    use_counts = _count_uses(tree, listing, tables) if listing is not None else {}
    listed_folders = sorted(list(folders.items())[:MAX_FOLDERS])
    types_by_folder = {folder: dict(counts.most_common()) for folder, counts in listed_folders}
    return Inventory(len(entries), dict(types.most_common()), types_by_folder, tables.reports, use_counts)


def _mark_lists(tables: TableChoice, listing: Listing, part_lists: Collection[str]) -> TableChoice:
    """Return the tables with the lists that are joined by ids, and those of parts, as taken; without annotations."""
    reasons = {name: "joined by ids" for name, rule in listing.ignored.items() if rule == JOINED_RULE}
    reasons |= dict.fromkeys(part_lists, "lists the images of parts")
    reports = [
        replace(report, is_used=True, reason=reasons[report.file]) if report.file in reasons else report
        for report in tables.reports
        if report.is_used or listing.ignored.get(report.file) not in ANNOTATION_RULES
    ]
    return replace(tables, reports=tuple(sorted(reports, key=lambda report: not report.is_used)))


def find_file_type(name: str) -> str:
    """Return the type of a file: the suffix of its name, or ``no suffix``."""
    return file_suffix(name) or NO_SUFFIX


def _count_types(entries: Entries) -> Counter[tuple[str, str]]:
    """Return the number of files by folder of the top two levels and by type, in the order of the files."""
    tops = ["/".join(folder.split("/")[:2]) or "." for folder in entries.folders]
    types = [suffix or NO_SUFFIX for suffix in entries.suffixes]
    for row in [row for row, entry in enumerate(entries) if "folder" in entry.reason]:
        types[row] = "linked folder" if "link" in entries[row].reason else "other folder"
    return Counter(zip([tops[code] for code in entries.folder_codes.tolist()], types, strict=True))


def _count_uses(tree: Tree, listing: Listing, tables: TableChoice) -> dict[str, int]:
    """Return the number of files by what they were taken for."""
    entries = tree.entries()
    images = {uri.partition("#")[0] for uri in listing.manifest.uris}
    reports = {report.file: report for report in tables.reports}
    ignored_rules = {name.removeprefix(tree.prefix): rule for name, rule in listing.ignored.items()}
    other_entries = [entry for entry in entries if entry.uri not in images]
    unread_tables = explain_unread_tables(tree)
    containers = {path for uri in images if (path := _find_container(uri))} if other_entries else set()
    use_counts = Counter({"image": len(entries) - len(other_entries)})
    for entry in other_entries:
        if entry.uri in containers:
            use_counts["file of images"] += 1
        elif entry.name in reports:
            use_counts["label table" if reports[entry.name].is_used else "table that is not used"] += 1
        elif entry.uri in tables.unlabelled:
            use_counts[f"image without label, named in {tables.unlabelled[entry.uri]}"] += 1
        elif entry.name in unread_tables and ignored_rules.get(entry.name) not in ANNOTATION_RULES:
            use_counts[unread_tables[entry.name]] += 1
        elif entry.name in ignored_rules:
            use_counts[ignored_rules[entry.name]] += 1
        else:
            use_counts[_describe_use(entry)] += 1
    return {use: n for use, n in use_counts.most_common() if n}


def _find_container(uri: str) -> str:
    """Return the uri of the file that holds an image beside others, or as an array; empty if the image is a file."""
    scheme = URI_SCHEME.match(uri)
    if scheme is None or scheme[1] in MEMBER_SCHEMES:
        return ""
    place = uri[scheme.end() :]
    return place if scheme[1] == "npy" else place.partition("//")[0]


def _describe_use(entry: Entry) -> str:
    if entry.reason:
        return entry.reason
    if is_archive_name(entry.name):
        return "archive"
    return "image that is not used" if is_image_name(entry.name) else f"other file ({find_file_type(entry.name)})"


def describe_types(types: Mapping[str, int]) -> str:
    """Return the files of a source by type: ``24 .npy, 12 .dcm, 2 linked folders``.

    Examples
    --------
    >>> describe_types({".png": 2, "no suffix": 1})
    '2 .png, 1 no suffix'
    """
    counts = [f"{n} {name}{'s' if n > 1 and name.endswith('folder') else ''}" for name, n in types.items()]
    return ", ".join(counts[:N_TYPES_NAMED]) + (", …" if len(counts) > N_TYPES_NAMED else "") or "no files"
