"""Results as tables and sentences on standard output."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from featx.cli.text import as_text
from featx.text.escaping import escape_json
from featx.text.masking import mask_secrets, mask_secrets_in_value

if TYPE_CHECKING:
    from featx.embeddings.doctor import Diagnosis
    from featx.embeddings.extract import Extraction
    from featx.ensembles.ensemble import EnsembleResult
    from featx.exports.export import ExportedModel
    from featx.finetuning.training_run import FinetuningResult
    from featx.images.init import Recognition
    from featx.predictors.prediction import Prediction

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
MAX_COLUMNS_OFFERED = 60


def console() -> Console:
    """Return a console on standard output; tables have any width unless it is a terminal."""
    terminal = Console(highlight=False, soft_wrap=True)
    return terminal if terminal.is_terminal else Console(highlight=False, soft_wrap=True, width=220)


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
    """Print a table; the first column is text, the others are right-aligned."""
    grid = Table(
        title=as_text(title, "table.title") if title else None,
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for number, name in enumerate(columns):
        grid.add_column(as_text(name), justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(as_text(cell(value)) for value in row))
    console().print(grid)


def cell(value: object) -> str:
    """Return a value as text for a table: four decimals, a dash for a missing value."""
    if value is None or value != value:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def say(text: str = "") -> None:
    """Print a line."""
    console().print(as_text(mask_secrets(text)))


def format_counts(counts: Mapping[str, int], limit: int = 12) -> str:
    """Return counts as text, for example ``cat 12, dog 30``."""
    texts = [f"{name} {n}" for name, n in list(counts.items())[:limit]]
    return ", ".join(texts) + (f", … ({len(counts)} in all)" if len(counts) > limit else "")


def print_recognition(recognition: "Recognition", explain: bool = False) -> None:
    """Print what ``init`` recognised; with `explain` also all files and tables of the source."""
    from featx.images.decoding_proposal import describe_settings

    inspected = "" if recognition.n_measured == recognition.n_found else f" (of {recognition.n_measured} inspected)"
    sizes = f"; {format_counts(recognition.sizes_px)}{inspected}" if recognition.sizes_px else ""
    say(f"images   {recognition.n_found}, read as {recognition.reader!r}{sizes}")
    for sentence in recognition.choice:
        say(f"labels   {sentence}")
    if len(recognition.decoding.depths) > 1:
        say(f"pixels   {format_counts(recognition.decoding.depths)}: the inspected images have different depths")
    for setting in describe_settings(recognition.decoding):
        say(f"decoding {setting}")
    if recognition.target:
        kind = "" if recognition.kind == "classes" else f" ({recognition.kind})"
        values = f": {format_counts(recognition.classes)}" if recognition.classes else ""
        say(f"target   {recognition.target}{kind}{values}")
        say(f"split    {_describe_split(recognition)}")
    other_columns = {name: n for name, n in recognition.candidates.items() if name != recognition.target}
    if other_columns:
        say(f"others   {format_counts(other_columns, MAX_COLUMNS_OFFERED)} (different values; choose with --target)")
    for rule, n in recognition.ignored.items():
        say(f"ignored  {n} × {rule}")
    if recognition.n_unreadable:
        unreadable = f"{recognition.n_unreadable} of {recognition.n_measured}"
        say(f"warning  {unreadable} inspected images cannot be read or do not exist")
    for warning in recognition.warnings:
        say(f"warning  {warning}")
    if explain:
        _print_inventory(recognition)
    next_commands = "featx extract" if recognition.target else "featx extract, then featx cache export"
    say(f"wrote {recognition.recipe}; next: {next_commands}")


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
    say(f"files    {inventory.n_files}: {format_counts(inventory.types)}")
    for folder, types in inventory.folders.items():
        say(f"  {folder}/  {format_counts(types)}")
    for use, n in inventory.uses.items():
        say(f"used     {n} × {use}")
    for report in inventory.tables:
        use = "taken" if report.is_taken else "not taken"
        say(f"table    {report.file}: {report.format or 'unreadable'}, {report.n_rows} rows, {use}; {report.reason}")
        if report.columns:
            path = f"; paths in {report.path!r}" if report.path else ""
            say(f"  columns {', '.join(report.columns[:MAX_COLUMNS_OFFERED])}{path}")


def print_extraction(result: "Extraction") -> None:
    """Print the result of an extraction."""
    from featx.embeddings.drift import Drift

    say(
        f"{result.n_found} files: {result.n_embedded} embedded, {result.n_cached} cached, "
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
    say(f"images with embeddings: {n_with_embedding}; total time {result.seconds:.1f} s")
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


def networks(runs: Sequence["FinetuningResult"]) -> None:
    """Print the trained networks, one table per target, the best first."""
    for target in dict.fromkeys(run.target for run in runs):
        _networks([run for run in runs if run.target == target])


def _networks(runs: Sequence["FinetuningResult"]) -> None:
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    rows = [
        (
            run.run,
            *(run.settings.get(key, "–") for key in keys),
            f"{run.best_epoch} of {run.n_epochs}",
            run.held_loss,
            run.val_score,
            f"{run.train_s:.1f}",
            ", ".join([*run.flags, *([] if run.is_new else ["already done"])]),
        )
        for run in runs
    ]
    metric = SHORT.get(runs[0].metric, runs[0].metric)
    say()
    table(runs[0].target, ["run", *keys, "best epoch", "held-out loss", f"val {metric}", "s", ""], rows)
    for run in runs:
        for text in [*run.warnings, *run.notes]:
            say(f"  {run.run}: {text}")


def setting_text(params: Mapping[str, Any]) -> str:
    """Return a setting as text, for example ``C 0.01, scaling standard``."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )


def votes(runs: Sequence["EnsembleResult"]) -> None:
    """Print the ensembles, one table per target, the best first."""
    for target in dict.fromkeys(run.target for run in runs):
        _votes([run for run in runs if run.target == target])


def _votes(runs: Sequence["EnsembleResult"]) -> None:
    best = runs[0]
    metric = SHORT.get(best.metric, best.metric.replace("_", " ")) + (" by weight" if best.weighted else "")
    rows: list[tuple[object, ...]] = [
        (run.run, f"{len(run.members)} of {run.n_candidates}", run.score, "" if run.is_new else "already done")
        for run in runs
    ]
    rows += [
        (f"best member, {best.best_member}", None, best.best_member_score, ""),
        ("median member", None, best.median_member_score, ""),
    ]
    say()
    table(f"{best.target} on {best.scored_on} (n {best.n})", ["run", "members", metric, ""], rows)
    relation = f"{best.gain:.4f} better than" if best.gain > 0 else "not better than"
    say(f"best: {best.run}, {relation} its best member; learned combiners are scored by cross-fitting")
    for text in best.warnings:
        say(f"warning: {text}")
    for run in runs:
        shown_weights = [f"{name} {weight:.3f}" for name, weight in zip(run.members, run.weights, strict=False)]
        say()
        say(f"  {run.run}: {', '.join(shown_weights or run.members)}")
        say(f"    {run.explanation}")


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


def print_predictions(predictions_by_run: Mapping[str, "Prediction"], coverage: float | None) -> None:
    """Print the prediction of each run for each image."""
    from featx.tables.predictions import HAS, PROBA, VALUE

    for name, prediction in predictions_by_run.items():
        rows = prediction.rows(name, coverage)
        if not rows:
            continue
        columns = [column for column in rows[0] if column not in {"run", "probability"}]
        titles = [column.split(".", 1)[1] if column.startswith((PROBA, HAS, VALUE)) else column for column in columns]
        say()
        table(name, titles, [[None if row[column] == "" else row[column] for column in columns] for row in rows])
