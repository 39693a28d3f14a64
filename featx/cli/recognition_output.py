"""The output of ``featx init``: what it recognised in a source."""

from typing import TYPE_CHECKING

from featx.cli.command_summary import MAX_SUMMARY_LINES, WARNING, Summary
from featx.cli.console import format_counts
from featx.cli.output_settings import with_recipe_option

if TYPE_CHECKING:
    from featx.images.init import Recognition

MAX_COLUMNS_OFFERED = 60
# With ``--explain`` nothing is left out.
EXPLAINED_LINES = 1_000_000
# Ranks of lines of the summary (`featx.cli.command_summary`).
CHOICE, PIXELS, OTHERS, IGNORED = 2, 3, 4, 5
# What the split of each kind of target is stratified by, where it is not the classes.
STRATA = {"numbers": " by fifths of the numbers", "labels": " by the rarest label"}


def print_recognition(recognition: "Recognition", explain: bool = False) -> None:
    """Print what ``init`` recognised; with `explain` also all files and tables of the source."""
    from featx.specs.recipe import DEFAULT_RECIPE

    with Summary(EXPLAINED_LINES if explain else MAX_SUMMARY_LINES) as summary:
        _add_recognition(recognition, summary)
        if explain:
            _add_inventory(recognition, summary)
        has_target = bool(recognition.target)
        first_command, second_command = (
            ("featx run", "or featx extract")
            if has_target
            else ("featx extract", "then featx cache export EMBEDDING --to vectors.npz")
        )
        if recognition.recipe != DEFAULT_RECIPE:
            first_command, second_command = with_recipe_option(first_command), with_recipe_option(second_command)
        summary.result(f"wrote {recognition.recipe}")
        summary.next_step(f"{first_command}, {second_command}")


def _add_recognition(recognition: "Recognition", summary: Summary) -> None:
    from featx.images.decoding_proposal import describe_settings

    def say_wrapped(label: str, text: str, rank: int = 0) -> None:
        summary.say(text, rank, label)

    sample_note = "" if recognition.n_measured == recognition.n_found else f" (of {recognition.n_measured} inspected)"
    sizes = f"; {format_counts(recognition.sizes_px)}{sample_note}" if recognition.sizes_px else ""
    say_wrapped("images", f"{recognition.n_found}, read as {recognition.reader!r}{sizes}")
    for sentence in recognition.choice:
        say_wrapped("labels", sentence, CHOICE)
    if len(recognition.decoding.depths) > 1:
        depths = format_counts(recognition.decoding.depths)
        say_wrapped("pixels", f"{depths}: the inspected images have different depths", PIXELS)
    for setting in describe_settings(recognition.decoding):
        say_wrapped("decoding", setting, PIXELS)
    if recognition.target:
        kind = "" if recognition.kind == "classes" else f" ({recognition.kind})"
        values = f": {format_counts(recognition.classes)}" if recognition.classes else ""
        say_wrapped("target", f"{recognition.target}{kind}{values}")
        say_wrapped("split", f"{_describe_split(recognition)}")
    other_columns = {name: n for name, n in recognition.candidates.items() if name != recognition.target}
    if other_columns:
        counts = format_counts(other_columns, MAX_COLUMNS_OFFERED)
        say_wrapped("others", f"{counts} (different values; choose with featx init --target)", OTHERS)
    for rule, n in recognition.ignored.items():
        say_wrapped("ignored", f"{n} × {rule}", IGNORED)
    if recognition.n_unreadable:
        count_text = f"{recognition.n_unreadable} of {recognition.n_measured}"
        say_wrapped("warning", f"{count_text} inspected images cannot be read or do not exist", WARNING)
    for warning in recognition.warnings:
        say_wrapped("warning", warning, WARNING)


def _describe_split(recognition: "Recognition") -> str:
    groups = f", by {recognition.group_column!r}" if recognition.group_column else ""
    if recognition.parts:
        return f"{format_counts(recognition.parts)}, given by {recognition.split_column!r}{groups}"
    reason = f"; {recognition.split_reason}" if recognition.split_reason else ""
    shares = ", ".join(f"{part} {share:g}" for part, share in recognition.shares.items())
    strata = STRATA.get(recognition.kind or "", "")
    return f"none given: {shares}, stratified{strata}{groups}{reason}"


def _add_inventory(recognition: "Recognition", summary: Summary) -> None:
    """Add all files of a source by folder and by what they were taken for, and each table."""
    inventory = recognition.inventory
    summary.say(f"{inventory.n_files}: {format_counts(inventory.types)}", label="files")
    for folder, types in inventory.folders.items():
        summary.say(f"{folder}/  {format_counts(types)}", label="")
    for use, n in inventory.uses.items():
        summary.say(f"{n} × {use}", label="used")
    for report in inventory.tables:
        use = "used" if report.is_used else "not used"
        facts = f"{report.format or 'unreadable'}, {report.n_rows} rows, {use}; {report.reason}"
        summary.say(f"{report.file}: {facts}", label="table")
        if report.columns:
            path = f"; paths in {report.path!r}" if report.path else ""
            summary.say(f"columns {', '.join(report.columns[:MAX_COLUMNS_OFFERED])}{path}", label="")
