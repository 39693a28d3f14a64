"""Results as people read them: tables and sentences on standard output."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from featx.cli.text import as_text
from featx.text.escaping import escaped_json
from featx.text.masking import masked, masked_values

if TYPE_CHECKING:
    from featx.embeddings.doctor import Diagnosis
    from featx.embeddings.extract import Extraction
    from featx.ensembles.ensemble import EnsembleResult
    from featx.exports.export import Exported
    from featx.finetuning.training_run import FinetuningResult
    from featx.heads.fit import FitResult
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
FAILURES_SHOWN = 10
MOST_OFFERED = 60  # columns that could be predicted


def console() -> Console:
    """Return standard output; where it is no terminal, tables may be as wide as they need."""
    found = Console(highlight=False, soft_wrap=True)
    return found if found.is_terminal else Console(highlight=False, soft_wrap=True, width=220)


def as_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; nan and infinity, which JSON has not, become null."""
    values = masked_values(_finite(value))
    print(escaped_json(json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False)))


def plain(result: Any) -> Any:
    """Return a stage's result as what JSON knows."""
    if isinstance(result, list):
        return [plain(one) for one in result]
    return dataclasses.asdict(result) if dataclasses.is_dataclass(result) else str(result)  # type: ignore[arg-type]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are right-aligned."""
    drawn = Table(
        title=as_text(title, "table.title") if title else None,
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for at, name in enumerate(columns):
        drawn.add_column(as_text(name), justify="left" if at == 0 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*(as_text(cell(value)) for value in row))
    console().print(drawn)


def cell(value: object) -> str:
    """Write a value for a table: four digits after the point, a dash for what there is not."""
    if value is None or value != value:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def say(text: str = "") -> None:
    """Print a line."""
    console().print(as_text(masked(text)))


def counted(counts: Mapping[str, int], limit: int = 12) -> str:
    """Write counts as ``cat 12, dog 30``."""
    shown = [f"{name} {n}" for name, n in list(counts.items())[:limit]]
    return ", ".join(shown) + (f", … ({len(counts)} in all)" if len(counts) > limit else "")


def finding(found: "Recognition") -> None:
    """Say what ``init`` found."""
    say(f"{found.n_found} images, read as {found.reader!r}")
    if found.n_measured > found.n_unreadable:
        of = "" if found.n_measured == found.n_found else f" (of {found.n_measured} looked at)"
        say(f"sizes    {counted(found.sizes_px)}{of}")
    if found.n_unreadable:
        say(f"warning  {found.n_unreadable} of {found.n_measured} looked at cannot be read or are not there")
    say(f"target   {found.target}: {counted(found.classes)}")
    others = {name: n for name, n in found.candidates.items() if name != found.target}
    if others:
        say(f"others   {counted(others, MOST_OFFERED)} (different values; choose with --target)")
    say(
        f"split    {counted(found.parts)}, given"
        if found.parts
        else "split    none given: test 0.2, val 0.15, stratified"
    )
    for rule, n in found.ignored.items():
        say(f"ignored  {n} × {rule}")
    for warning in found.warnings:
        say(f"warning  {warning}")
    say(f"wrote {found.recipe}; next: featx extract")


def extraction(done: "Extraction") -> None:
    """Say what an extraction did."""
    from featx.embeddings.drift import Drift

    say(
        f"{done.n_found} files: {done.n_embedded} embedded, {done.n_cached} cached, {done.n_duplicate} duplicate, "
        f"{done.n_unreadable} unreadable, {done.n_missing} missing, {done.n_ignored} ignored"
    )
    for rule, n in list(done.ignored.items())[:FAILURES_SHOWN]:
        say(f"  ignored: {n} × {rule}")
    for name, outcome, reason in done.failures[:FAILURES_SHOWN]:
        say(f"  {outcome}: {name!r} {reason}")
    if len(done.failures) > FAILURES_SHOWN:
        say(f"  … {len(done.failures) - FAILURES_SHOWN} more in {done.outcomes_file}")
    for warning in done.warnings:
        say(f"  warning: {warning}")
    for name in done.waiting:
        say(f"  not embedded: {name} uses a network that is not trained; run 'featx finetune', then 'featx extract'")
    say(f"images with embeddings: {counted(done.parts)}; total time {done.seconds:.1f} s")
    if done.n_embedded:
        say(f"embedding speed {done.images_per_s:.1f} images/s; {done.verdict}")
    for one in done.embeddings:
        say(f"  {one['name']}  d {one['n_features']}  {one['precision']}  {one['store']}")
        if one["drift"]:
            say(f"    {Drift.model_validate(one['drift'])}")


def diagnosis(found: "Diagnosis") -> None:
    """Say what a machine has, and how its runtimes and precisions compare."""
    for what, how in found.machine:
        say(f"{what:<14} {how}")
    if not found.checkups:
        return
    columns = ["network", "runtime", "images/s", "cosine", "estimated", "rel. error", "accepted", "accuracy", "sd"]
    rows = [
        (
            one.network,
            one.how,
            f"{one.images_per_s:.1f}",
            f"{one.drift.cosine:.6f}",
            f"{one.drift.expected_cosine:.6f}",
            f"{one.drift.relative_error:.4f}",
            "yes" if one.is_trusted else "no",
            f"{one.accuracy:.4f}",
            f"{one.accuracy_sd:.4f}",
        )
        for one in found.checkups
    ]
    table("", columns, rows)
    say(f"All values are measured on {found.n_images} train images and compared with eager torch in fp32.")
    say("cosine, rel. error: lowest cosine and largest relative error of an embedding")
    say("estimated: estimate of the lowest cosine among 30,000 images")
    say("accepted: fp32 is; a reduced precision if cosine and estimated are at least extraction.least_cosine")
    say("accuracy, sd: mean and standard deviation over 5 folds of a logistic regression's accuracy")


def fits(runs: Sequence["FitResult"]) -> None:
    """Print what heads were fitted, one table a target."""
    for target in dict.fromkeys(run.target for run in runs):
        _fits([run for run in runs if run.target == target])


def _fits(runs: Sequence["FitResult"]) -> None:
    from featx.metrics.definitions import is_better_less

    rows = [
        (
            run.run,
            run.n_trials,
            -run.cv_score if is_better_less(run.metric) else run.cv_score,
            run.val_score,
            run.search_s,
            run.train_s,
            ", ".join([*run.marks, *([] if run.made else ["was there"])]),
        )
        for run in runs
    ]
    metrics = " / ".join(dict.fromkeys(run.metric for run in runs))
    shown = " / ".join(dict.fromkeys(SHORT.get(run.score, run.score.replace("_", " ")) for run in runs))
    table("", ["run", "trials", f"cv {metrics}", f"val {shown}", "search s", "train s", ""], rows)
    for run in runs:
        calibrated = f"; probabilities by {run.calibration}" if run.calibration != "none" else ""
        say(f"  {run.run}: {setting_text(run.params)}{calibrated}")
        say(f"    searched: {', '.join(map(_range_text, run.space, run.space.values()))}")
        if run.importances:
            said = ", ".join(f"{name} {share:.0%}" for name, share in run.importances.items())
            say(f"    what mattered: {said} of the differences between trials")
        for text in run.findings:
            say(f"    {text}")


def _range_text(name: str, of: Mapping[str, Any]) -> str:
    """Write what a parameter could be."""
    if "low" in of:
        return f"{name} {of['low']:.4g} to {of['high']:.4g}"
    if "choices" in of:
        return f"{name} {' | '.join(map(str, of['choices']))}"
    values = of["values"]
    return f"{name} {values[0]:.4g} to {values[-1]:.4g} in every trial"


def networks(runs: Sequence["FinetuningResult"]) -> None:
    """Print what networks were trained, one table a target, the best on top."""
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
            ", ".join([*run.marks, *([] if run.made else ["was there"])]),
        )
        for run in runs
    ]
    metric = SHORT.get(runs[0].metric, runs[0].metric)
    say()
    table(runs[0].target, ["run", *keys, "best epoch", "held-out loss", f"val {metric}", "s", ""], rows)
    for run in runs:
        for text in [*run.findings, *run.notes]:
            say(f"  {run.run}: {text}")


def setting_text(params: Mapping[str, Any]) -> str:
    """Write a setting as ``C 0.01, scaling standard``."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )


def votes(runs: Sequence["EnsembleResult"]) -> None:
    """Print what votes were held, one table a target, the best on top."""
    for target in dict.fromkeys(run.target for run in runs):
        _votes([run for run in runs if run.target == target])


def _votes(runs: Sequence["EnsembleResult"]) -> None:
    best = runs[0]
    metric = SHORT.get(best.metric, best.metric.replace("_", " ")) + (" by weight" if best.weighted else "")
    rows: list[tuple[object, ...]] = [
        (run.run, f"{len(run.members)} of {run.n_candidates}", run.score, "" if run.made else "was there")
        for run in runs
    ]
    rows += [
        (f"best member, {best.best_member}", None, best.best_member_score, ""),
        ("median member", None, best.median_member_score, ""),
    ]
    say()
    table(f"{best.target} on {best.scored_on} (n {best.n})", ["run", "members", metric, ""], rows)
    ahead = f"by {best.gain:.4f} " if best.gain > 0 else "not "
    say(f"best: {best.run}, {ahead}ahead of its best member; what learns is scored on rows that did not teach it")
    for text in best.findings:
        say(f"warning: {text}")
    for run in runs:
        said = [f"{name} {weight:.3f}" for name, weight in zip(run.members, run.weights, strict=False)]
        say()
        say(f"  {run.run}: {', '.join(said or run.members)}")
        say(f"    {run.why}")


def exports(written: "Sequence[Exported]") -> None:
    """Say what was written, and how it compares."""
    for one in written:
        parity = one.parity
        beyond = f"; {parity.n_beyond} of them by more than {parity.tolerance:g}" if parity.n_beyond else ""
        say(f"{one.path} ({one.n_bytes / 1e6:.1f} MB), {one.passport}")
        say(f"  answers {parity.n} {parity.rows} rows as the run does within {parity.largest:.1e}{beyond}")
        if parity.why:
            say(f"  {parity.why}")


def predictions(found: Mapping[str, "Prediction"], coverage: float | None) -> None:
    """Print every model's answer for every image."""
    from featx.tables.predictions import HAS, PROBA, VALUE  # pandas comes along, which light commands need not wait for

    for name, answers in found.items():
        rows = answers.rows(name, coverage)
        if not rows:
            continue
        columns = [column for column in rows[0] if column not in {"run", "probability"}]
        titles = [column.split(".", 1)[1] if column.startswith((PROBA, HAS, VALUE)) else column for column in columns]
        say()
        table(name, titles, [[None if row[column] == "" else row[column] for column in columns] for row in rows])
