"""Files that hold tables in formats that featx does not read, and how each becomes a table that it reads."""

from collections.abc import Iterable

from featx.files.table_files import TABLE_SUFFIXES, TEXT_SUFFIXES
from featx.images.names import base_name, file_suffix

SPREADSHEET_SUFFIXES = frozenset({".xls", ".xlsm", ".xlsb", ".xlt", ".ods", ".fods", ".numbers"})
STATISTICS_SUFFIXES = frozenset(
    {".sav", ".dta", ".sas7bdat", ".xpt", ".rds", ".rda", ".rdata", ".feather", ".arrow", ".orc", ".arff"}
    | {".db", ".sqlite", ".sqlite3", ".mdb", ".accdb", ".dbf"}
)
COMPRESSED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"})


def explain_table_format(name: str) -> str:
    """Return why a file is not read as a table, with the next step; empty if its suffix is that of a table.

    Examples
    --------
    >>> explain_table_format("labels.xls"), explain_table_format("labels.csv.gz"), explain_table_format("labels.csv")
    ("has an unsupported format ('.xls'); save it as .xlsx or CSV", 'is compressed; unpack it first', '')
    """
    suffix = file_suffix(name)
    if suffix in TABLE_SUFFIXES:
        return ""
    if suffix in COMPRESSED_SUFFIXES:
        return "is compressed; unpack it first"
    if suffix in SPREADSHEET_SUFFIXES:
        return f"has an unsupported format ({suffix!r}); save it as .xlsx or CSV"
    if suffix in STATISTICS_SUFFIXES:
        return f"has an unsupported format ({suffix!r}); save it as CSV or Parquet"
    problem = f"has the suffix {suffix!r}, which is not that of a table" if suffix else "has no suffix"
    return (
        f"{problem}; if it is a text table, rename it to {base_name(name).removesuffix(suffix)}.csv, or save it as CSV"
    )


def explain_unsupported_tables(names: Iterable[str]) -> list[str]:
    """Return a sentence for each file that is a table in a format that is not read.

    Examples
    --------
    >>> explain_unsupported_tables(["meta/labels.ods", "notes.md", "scan.nii.gz"])
    ["meta/labels.ods has an unsupported format ('.ods'); save it as .xlsx or CSV"]
    """
    return [f"{name} {explain_table_format(name)}" for name in names if _is_unsupported_table(name)]


def _is_unsupported_table(name: str) -> bool:
    """Whether a name is that of a table in a format that is not read, or of a compressed text table."""
    suffix = file_suffix(name)
    unpacked_suffix = file_suffix(name[: -len(suffix)]) if suffix in COMPRESSED_SUFFIXES else ""
    return suffix in SPREADSHEET_SUFFIXES | STATISTICS_SUFFIXES or unpacked_suffix in TEXT_SUFFIXES
