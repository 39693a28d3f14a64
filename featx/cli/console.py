"""Results as tables and sentences on standard output."""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

from featx.cli.text import as_text
from featx.text.escaping import escape_json
from featx.text.masking import mask_secrets, mask_secrets_in_value

if TYPE_CHECKING:
    from featx.artifacts.export_card import Parity
    from featx.embeddings.doctor import Diagnosis
    from featx.embeddings.extract import Extraction
    from featx.exports.export import ExportedModel

SHORT = {
    "accuracy": "acc",
    "balanced_accuracy": "bal acc",
    "macro_precision": "P macro",
    "macro_recall": "R macro",
    "macro_f1": "F1 macro",
    "weighted_precision": "P wtd",
    "weighted_recall": "R wtd",
    "weighted_f1": "F1 wtd",
    "kappa": "kappa",
    "auc_ovr": "AUC",
    "log_loss": "log loss",
    "interval_width": "width",
    "answered_accuracy": "acc of answered",
    "confidence_accuracy": "acc by weight",
    "confidence_mae": "mae by weight",
}
N_FAILURES_SHOWN = 10
# Width of a line of text, and of the label at its beginning.
MAX_LINE_CELLS, LABEL_CELLS = 80, 9
# Number of runs that are named beside a text that concerns them.
MAX_LABELS_SHOWN = 4


# Width of tables that are written to a file or a pipe, unless the variable COLUMNS states one.
UNLIMITED_WIDTH = 100_000
# Number of characters between two columns of a table.
COLUMN_GAP = 2


def console() -> Console:
    """Return a console on standard output; tables have any width unless it is a terminal or COLUMNS is set."""
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(highlight=False, soft_wrap=True, width=None if has_width else UNLIMITED_WIDTH)


def width() -> int:
    """Return the number of characters in a line of standard output."""
    return console().width


def as_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; nan and infinity become null."""
    print(_json_text(value, indent=2))


def _json_text(value: Any, indent: int | None = None) -> str:
    values = mask_secrets_in_value(_finite(value))
    return escape_json(json.dumps(values, ensure_ascii=False, indent=indent, allow_nan=False))


class JsonList:
    """Prints one JSON object whose first field is a list of records that come in batches.

    Parameters
    ----------
    name
        Name of the field with the list.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._n_records = 0

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Print some records, one in a line."""
        for record in records:
            print(",\n" if self._n_records else f"{{\n{_json_text(self._name)}: [\n", end=_json_text(record))
            self._n_records += 1

    def close(self, fields: Mapping[str, Any]) -> None:
        """Print the end of the list and the other fields of the object."""
        start = "" if self._n_records else f"{{\n{_json_text(self._name)}: ["
        end = _json_text(fields, indent=2).removeprefix("{")
        print(f"{start}\n],{end}")


def plain(result: Any) -> Any:
    """Return the result of a stage as JSON values; dataclasses and pydantic models become objects."""
    # pydantic is slow to import, and this module is imported for `--help` too.
    from pydantic import BaseModel

    if isinstance(result, BaseModel):
        return plain(result.model_dump())
    if dataclasses.is_dataclass(result):
        return {field.name: plain(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(item) for item in result]
    return str(result) if isinstance(result, Path) else result


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are right-aligned.

    If the table is wider than the terminal, it is printed in several parts, each of which begins with the first column.
    """
    texts = [[as_text(name) for name in columns], *([as_text(cell(value)) for value in row] for row in rows)]
    widths = [max(text.cell_len for text in column) for column in zip(*texts, strict=True)]
    terminal = console()
    if sum(widths) + COLUMN_GAP * (len(widths) - 1) > terminal.width:
        # Long names of columns are written on several lines.
        widths = [
            max(*(row[index].cell_len for row in texts[1:]), *map(len, texts[0][index].plain.split()), 1, 1)
            for index in range(len(widths))
        ]
        widths[0] = min(widths[0], max(terminal.width // 2, texts[0][0].cell_len))
    for number, part in enumerate(_parts(widths, terminal.width)):
        if number:
            say()
        grid = Table(
            title=as_text(title, "table.title") if title and not number else None,
            title_justify="left",
            box=None,
            header_style="bold",
            pad_edge=False,
        )
        for index in part:
            justify: JustifyMethod = "right" if index else "left"
            grid.add_column(texts[0][index], justify=justify, width=widths[index], overflow="fold")
        for row in texts[1:]:
            grid.add_row(*(row[index] for index in part))
        terminal.print(grid)


def _parts(widths: Sequence[int], available: int) -> list[list[int]]:
    """Return the columns of each part of a table; every part begins with the first column."""
    parts, used = [[0]], widths[0]
    for index, width in enumerate(widths[1:], start=1):
        if len(parts[-1]) > 1 and used + COLUMN_GAP + width > available:
            parts.append([0])
            used = widths[0]
        parts[-1].append(index)
        used += COLUMN_GAP + width
    return parts


def cell(value: object) -> str:
    """Return a value as text for a table: four decimals, a dash for a missing value."""
    if value is None or value != value:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def say(text: str = "") -> None:
    """Print a line."""
    console().print(as_text(mask_secrets(text)))


def say_wrapped(label: str, text: str, width: int = MAX_LINE_CELLS) -> None:
    """Print a text after its label, in lines of at most `width` cells that are broken between words."""
    indent = " " * LABEL_CELLS
    line = f"{label:<{LABEL_CELLS}}"
    for number, word in enumerate(text.split(" ")):
        if number and cell_len(line) + 1 + cell_len(word) > width:
            say(line.rstrip())
            line = indent + word
        else:
            line += f" {word}" if number else word
    say(line)


def limited_list(labels: Sequence[str]) -> str:
    """Return the first labels of runs as text, and how many more there are."""
    n_more = len(labels) - MAX_LABELS_SHOWN
    return ", ".join(labels[:MAX_LABELS_SHOWN]) + (f", and {n_more} more" if n_more > 0 else "")


def format_counts(counts: Mapping[str, int], limit: int = 12) -> str:
    """Return counts as text, for example ``cat 12, dog 30``."""
    texts = [f"{name} {n}" for name, n in list(counts.items())[:limit]]
    return ", ".join(texts) + (f", … ({len(counts)} in all)" if len(counts) > limit else "")


def print_extraction(result: "Extraction") -> None:
    """Print the result of an extraction."""
    from featx.embeddings.drift import Drift

    has_embeddings = bool(result.embeddings or result.pending_embeddings)
    images = f"{result.n_embedded} embedded, {result.n_cached} cached"
    say(
        f"{result.n_found} files: {images if has_embeddings else f'{result.n_cached} readable images'}, "
        f"{result.n_duplicate} duplicate, {result.n_unreadable} unreadable, {result.n_missing} missing, "
        f"{result.n_ignored} ignored"
    )
    for rule, n in list(result.ignored.items())[:N_FAILURES_SHOWN]:
        say(f"  ignored: {n} × {rule}")
    for name, outcome, reason in result.failures[:N_FAILURES_SHOWN]:
        say(f"  {outcome}: {name!r} {reason}")
    if len(result.failures) > N_FAILURES_SHOWN:
        say(f"  … {len(result.failures) - N_FAILURES_SHOWN} more in {result.outcomes_file}")
    for warning in result.warnings:
        say(f"  warning: {warning}")
    for name in result.pending_embeddings:
        say(f"  not embedded: {name} uses a network that is not trained; run 'featx finetune', then 'featx extract'")
    if result.label_problem:
        say(f"  warning: no split, so nothing can be fitted: {result.label_problem}")
    n_with_embedding = format_counts(result.parts) if result.parts else "no parts"
    name = "images with embeddings" if has_embeddings else "images, without embeddings"
    say(f"{name}: {n_with_embedding}; total time {result.seconds:.1f} s")
    if result.n_embedded:
        say(f"embedding speed {result.images_per_s:.1f} images/s; {result.verdict}")
    for embedding in result.embeddings:
        say(f"  {embedding['name']}  d {embedding['n_features']}  {embedding['precision']}  {embedding['store']}")
        if embedding["drift"]:
            say(f"    {Drift.model_validate(embedding['drift'])}")


def diagnosis(result: "Diagnosis") -> None:
    """Print the description of a machine, and a comparison of its runtimes and precisions."""
    for part, description in result.machine:
        say(f"{part:<14} {description}")
    if not result.precision_checks:
        return
    columns = ["network", "runtime", "images/s", "cosine", "estimated", "rel. error", "accepted", "accuracy", "sd"]
    rows = [
        (
            check.network,
            check.runtime,
            f"{check.images_per_s:.1f}",
            f"{check.drift.cosine:.6f}",
            f"{check.drift.expected_cosine:.6f}",
            f"{check.drift.relative_error:.4f}",
            "yes" if check.is_trusted else "no",
            f"{check.accuracy:.4f}",
            f"{check.accuracy_sd:.4f}",
        )
        for check in result.precision_checks
    ]
    table("", columns, rows)
    say(f"All values are measured on {result.n_images} train images and compared with eager torch in fp32.")
    say("cosine, rel. error: lowest cosine and largest relative error of an embedding")
    say("estimated: estimate of the lowest cosine among 30,000 images")
    say("accepted: fp32 is; a reduced precision if cosine and estimated are at least extraction.min_cosine")
    say("accuracy, sd: mean and standard deviation over 5 folds of a logistic regression's accuracy")


def setting_text(params: Mapping[str, Any]) -> str:
    """Return a setting as text, for example ``C 0.01, scaling standard``."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )


def exports(written: "Sequence[ExportedModel]") -> None:
    """Print the written files, and how closely they reproduce the run."""
    for export in written:
        parity = export.parity
        deviation = f"; {parity.n_beyond} of them differ by more than {parity.tolerance:g}" if parity.n_beyond else ""
        say(f"{export.path} ({export.n_bytes / 1e6:.1f} MB), {export.card}")
        say(f"  largest difference to the run on {parity.n} {parity.rows} rows: {parity.largest:.1e}{deviation}")
        if parity.n_other_labels is not None:
            n_equal = parity.n - parity.n_other_labels
            advice = "" if n_equal == parity.n else "; look at the others before you rely on the file"
            share = f"{n_equal} of {parity.n} rows ({n_equal / parity.n:.1%})"
            say(f"  predicted labels agree with the run for {share}{advice}")
        if parity.reason:
            say(f"  {parity.reason}")
    # All files are of the same run.
    if (source_parity := written[0].source_parity) is not None:
        _say_refit(written[0], source_parity)


def _say_refit(export: "ExportedModel", parity: "Parity") -> None:
    """Print how closely an exported refit agrees with the run that its setting is from."""
    say(f"{export.run} has the setting of {export.refit_of}, fitted on the same rows in fp32")
    say(f"  largest difference to {export.refit_of} on {parity.n} {parity.rows} rows: {parity.largest:.1e}")
    if parity.n_other_labels is not None:
        n_equal = parity.n - parity.n_other_labels
        share = f"{n_equal} of {parity.n} {parity.rows} rows ({n_equal / parity.n:.1%})"
        say(f"  predicted labels agree with {export.refit_of} for {share}")
