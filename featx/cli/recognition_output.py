"""The output of ``featx init``: what it recognised in a source."""

from typing import TYPE_CHECKING

from featx.cli.console import format_counts, say_wrapped

if TYPE_CHECKING:
    from featx.images.init import Recognition

MAX_COLUMNS_OFFERED = 60


def print_recognition(recognition: "Recognition", explain: bool = False) -> None:
    """Print what ``init`` recognised; with `explain` also all files and tables of the source."""
    from featx.images.decoding_proposal import describe_settings

    inspected = "" if recognition.n_measured == recognition.n_found else f" (of {recognition.n_measured} inspected)"
    sizes = f"; {format_counts(recognition.sizes_px)}{inspected}" if recognition.sizes_px else ""
    say_wrapped("images", f"{recognition.n_found}, read as {recognition.reader!r}{sizes}")
    for sentence in recognition.choice:
        say_wrapped("labels", sentence)
    if len(recognition.decoding.depths) > 1:
        say_wrapped(
            "pixels", f"{format_counts(recognition.decoding.depths)}: the inspected images have different depths"
        )
    for setting in describe_settings(recognition.decoding):
        say_wrapped("decoding", setting)
    if recognition.target:
        kind = "" if recognition.kind == "classes" else f" ({recognition.kind})"
        values = f": {format_counts(recognition.classes)}" if recognition.classes else ""
        say_wrapped("target", f"{recognition.target}{kind}{values}")
        say_wrapped("split", f"{_describe_split(recognition)}")
    other_columns = {name: n for name, n in recognition.candidates.items() if name != recognition.target}
    if other_columns:
        say_wrapped(
            "others", f"{format_counts(other_columns, MAX_COLUMNS_OFFERED)} (different values; choose with --target)"
        )
    for rule, n in recognition.ignored.items():
        say_wrapped("ignored", f"{n} × {rule}")
    if recognition.n_unreadable:
        unreadable = f"{recognition.n_unreadable} of {recognition.n_measured}"
        say_wrapped("warning", f"{unreadable} inspected images cannot be read or do not exist")
    for warning in recognition.warnings:
        say_wrapped("warning", warning)
    if explain:
        _print_inventory(recognition)
    next_commands = "featx extract" if recognition.target else "featx extract, then featx cache export"
    say_wrapped("wrote", f"{recognition.recipe}; next: {next_commands}")


def _describe_split(recognition: "Recognition") -> str:
    groups = f", by {recognition.group_column!r}" if recognition.group_column else ""
    if recognition.parts:
        return f"{format_counts(recognition.parts)}, given by {recognition.split_column!r}{groups}"
    reason = f"; {recognition.split_reason}" if recognition.split_reason else ""
    shares = ", ".join(f"{part} {share:g}" for part, share in recognition.shares.items())
    return f"none given: {shares}, stratified{groups}{reason}"


def _print_inventory(recognition: "Recognition") -> None:
    """Print all files of a source by folder and by what they were taken for, and each table."""
    inventory = recognition.inventory
    say_wrapped("files", f"{inventory.n_files}: {format_counts(inventory.types)}")
    for folder, types in inventory.folders.items():
        say_wrapped("", f"{folder}/  {format_counts(types)}")
    for use, n in inventory.uses.items():
        say_wrapped("used", f"{n} × {use}")
    for report in inventory.tables:
        use = "taken" if report.is_taken else "not taken"
        say_wrapped(
            "table", f"{report.file}: {report.format or 'unreadable'}, {report.n_rows} rows, {use}; {report.reason}"
        )
        if report.columns:
            path = f"; paths in {report.path!r}" if report.path else ""
            say_wrapped("", f"columns {', '.join(report.columns[:MAX_COLUMNS_OFFERED])}{path}")
