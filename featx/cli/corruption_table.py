"""The tables of an evaluation on corrupted images."""

from typing import TYPE_CHECKING, Any

from featx.cli import console
from featx.cli.command_summary import DETAIL, Summary
from featx.cli.output_settings import with_recipe_option
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featx.metrics.score_texts import ScoreFormat
    from featx.robustness.corruption_results import CorruptedRun, CorruptionResults
    from featx.study.study import Study

# Number of kinds of corruptions that the summary names as the most harmful ones.
N_HARMFUL_SHOWN = 3
# Grid of the shuffled patches that the summary shows, as a position among the severities of the probe.
SHOWN_GRID = 2


def print_corruptions(results: "CorruptionResults") -> None:
    """Print the scores of all runs and the most harmful kinds; with ``--verbose`` also each kind and severity."""
    with Summary() as summary:
        add_corruptions(summary, results)
        summary.next_step(f"{with_recipe_option('featx report')}, which shows corrupted images and each kind")


def add_corruptions(summary: Summary, results: "CorruptionResults") -> None:
    """Add the scores of all runs, the most harmful kinds, and each kind and severity as details."""
    score = console.short_name(results.score)
    sample = f"{len(results.ids)} of {results.n_rows} {results.part} images"
    columns, rows = _standings(results)
    summary.table(f"{results.target}: {score} on {sample}, original and corrupted", columns, rows)
    best = results.runs[0]
    name = console.run_name(best.run, best.label)
    if text := describe_best(results.score, name, best.original.score, best.mean):
        summary.result(text)
    if harm_text := describe_harmful(results):
        summary.say(harm_text)
    summary.warn(results.problems)
    if results.runs[0].cells:
        kinds = list(results.runs[0].by_kind)
        score_format = results.score_format
        kind_rows = [(kind, *(score_format.show(run.by_kind[kind]) for run in results.runs)) for kind in kinds]
        labels = [console.run_name(run.run, run.label) for run in results.runs]
        summary.table("mean over severities", ["kind", *labels], kind_rows, rank=DETAIL)
        summary.table(f"{labels[0]} at each severity", *_cells(results.runs[0], score_format), rank=DETAIL)


def _standings(results: "CorruptionResults") -> "tuple[list[str | Column], list[tuple[object, ...]]]":
    """Return the columns and rows of the runs; columns without values are left out."""
    score_format = results.score_format
    columns: list[tuple[Column, list[object]]] = [
        (Column("original", 1), [score_format.show(run.original.score) for run in results.runs]),
        (Column("corrupted (95 %)", 0), [_mean_text(run, score_format) for run in results.runs]),
        (Column("mCE", 2), [None if run.errors is None else run.errors.mean for run in results.runs]),
        (Column("relative mCE", 5), [None if run.errors is None else run.errors.relative for run in results.runs]),
        (Column("shifts", 3), [_shift_value(run) for run in results.runs]),
        (Column("shuffled", 4), [_probe_text(run, "patch_shuffle", SHOWN_GRID, score_format) for run in results.runs]),
        (Column("edges", 4), [_probe_text(run, "edges", 0, score_format) for run in results.runs]),
    ]
    filled_columns = [(column, values) for column, values in columns if any(value is not None for value in values)]
    names = [console.run_name(run.run, run.label) for run in results.runs]
    rows = list(zip(names, *(values for _, values in filled_columns), strict=True))
    return ["run", *(column for column, _ in filled_columns)], rows


def _mean_text(run: "CorruptedRun", score_format: "ScoreFormat") -> str | None:
    return None if run.mean is None else f"{score_format.show(run.mean)} ({score_format.interval(run.interval)})"


def _shift_value(run: "CorruptedRun") -> float | None:
    if run.consistency is None:
        return None
    return run.consistency.largest_change if run.consistency.share_8 is None else run.consistency.share_8


def _probe_text(run: "CorruptedRun", kind: str, position: int, score_format: "ScoreFormat") -> str | None:
    scores = run.probe_scores(kind)
    return score_format.show(scores[position]) if scores else None


def describe_best(score: str, name: str, original: float, mean: float | None) -> str:
    """Return a run's mean score on corrupted images beside that on the originals, as text; empty if it has none."""
    from featx.metrics.score_texts import ScoreFormat

    if mean is None:
        return ""
    mean_text, original_text = (
        format(value, ScoreFormat.of(score, [mean, original]).edge) for value in (mean, original)
    )
    return f"best under corruption: {name}, {console.short_name(score)} {mean_text} ({original_text} on originals)"


def describe_harmful(results: "CorruptionResults") -> str:
    """Return the kinds of corruptions that change the score most, as text; empty if none was evaluated."""
    from featx.metrics.definitions import find_score

    sign = -1 if find_score(results.score).greater_is_better else 1
    losses = list(results.score_drop_by_kind.items())[:N_HARMFUL_SHOWN]
    number_format = f"+{results.score_format.edge}"
    texts = [f"{kind} ({format(sign * loss, number_format)})" for kind, loss in losses]
    return f"most harmful: {', '.join(texts)}" if losses else ""


def corruption_lines(study: "Study", targets: "Sequence[str]") -> dict[str, str]:
    """Return the last results on corrupted images of unchanged runs as a line for each target that has any."""
    from featx.robustness.corruption_record import read_summary
    from featx.study.run_settings import label_runs

    lines = {}
    for target in targets:
        summary = read_summary(study, target)
        if summary is not None:
            labels = label_runs({run.name: run.spec for run in study.runs(target)})
            name, best = next(iter(summary.runs.items()))
            run_name = console.run_name(name, labels[name])
            if line := describe_best(summary.score, run_name, best.original, best.mean):
                lines[target] = line
    return lines


def _cells(
    run: "CorruptedRun", score_format: "ScoreFormat"
) -> "tuple[list[str | Column], Sequence[tuple[object, ...]]]":
    """Return the columns and rows of the scores of one run at each severity."""
    severities = sorted({cell.severity for cell in run.cells})
    scores_by_cell = {(cell.kind, cell.severity): score_format.show(cell.score) for cell in run.cells}
    rows = [(kind, *(scores_by_cell.get((kind, severity)) for severity in severities)) for kind in run.by_kind]
    return ["kind", *map(str, severities)], rows


def plain_results(results: "CorruptionResults") -> dict[str, Any]:
    """Return the results as one JSON object."""
    from dataclasses import asdict

    runs = [{**asdict(run), "by_kind": run.by_kind} for run in results.runs]
    result: dict[str, Any] = console.plain(
        {
            **{name: getattr(results, name) for name in ("target", "part", "n_rows", "score", "reference", "problems")},
            "n": len(results.ids),
            "runs": runs,
            "score_drop_by_kind": results.score_drop_by_kind,
        }
    )
    return result
