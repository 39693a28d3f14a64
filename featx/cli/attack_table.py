"""The tables of ``featx attack``: robust accuracies by limit and by method, transfer, and sanity checks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from featx.cli.command_summary import DETAIL, WARNING, Summary
from featx.cli.output_settings import with_recipe_option
from featx.cli.table_layout import Column
from featx.robustness.robustness_evaluation import limit_text

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation
    from featx.robustness.robustness_evaluation import RobustAccuracy, RobustnessEvaluation
    from featx.study.study import Study

# Ranks of the tables: the first one stays.
RANK_OF_SECOND_TABLE, RANK_OF_TRANSFER = 3, 2


def print_robustness(result: "RobustnessEvaluation") -> None:
    """Print the accuracy of each run under attack, the most robust run, and the sanity checks."""
    with Summary() as summary:
        add_robustness(result, summary)
        summary.next_step(f"{with_recipe_option('featx report')}, which shows these results with examples")


def print_all(results: "Sequence[RobustnessEvaluation]") -> None:
    """Print several evaluations of attacks."""
    for result in results:
        print_robustness(result)


def read_robustness(study: "Study", evaluations: "Sequence[Evaluation]") -> "dict[str, RobustnessEvaluation]":
    """Return target → stored results of attacks on the runs of evaluations."""
    from featx.robustness.stored_attacks import read_attacks

    attacks_by_target = {result.target: read_attacks(study, result.target, _part(result)) for result in evaluations}
    return {target: attacks.evaluation for target, attacks in attacks_by_target.items() if attacks is not None}


def _part(evaluation: "Evaluation") -> str:
    return "test" if evaluation.part == "test" else "val"


def attack_lines(
    study: "Study", evaluations: "Sequence[Evaluation]", results: "Mapping[str, RobustnessEvaluation]"
) -> dict[str, list[str]]:
    """Return target → lines about stored results of attacks, and about those that are left out."""
    from featx.robustness.stored_attacks import attack_notes

    lines: dict[str, list[str]] = {}
    for evaluation in evaluations:
        result = results.get(evaluation.target)
        if result is None:
            lines[evaluation.target] = attack_notes(study, evaluation.target, _part(evaluation))
        else:
            text = most_robust_text(result) or smallest_change_text(result)
            lines[evaluation.target] = ["; ".join(filter(None, [text, checks_text(result), *result.notes]))]
    return lines


def checks_text(result: "RobustnessEvaluation") -> str:
    """Return the number of sanity checks that were passed, and the runs whose figures are not to be trusted."""
    doubtful_text = ", ".join(run.label for run in result.runs if run.failed_checks)
    checks_summary = f"checks: {result.n_passed_checks} of {result.n_checks} passed"
    return f"{checks_summary}; not to be trusted: {doubtful_text}" if doubtful_text else checks_summary


def add_robustness(result: "RobustnessEvaluation", summary: Summary, rank: int = 0) -> None:
    """Add the tables of an evaluation of attacks to a summary.

    Parameters
    ----------
    rank
        Rank of the first table.
    """
    if result.kind == "numbers":
        _add_changes(result, summary, rank)
    else:
        for number, norm in enumerate(result.limits):
            _add_norm(result, norm, summary, rank + (number > 0) * RANK_OF_SECOND_TABLE)
        _add_unlimited(result, summary, rank if not result.limits else RANK_OF_SECOND_TABLE)
        _add_transfer(result, summary)
        if best := most_robust_text(result):
            summary.say(best, rank)
    _add_checks(result, summary)


def most_robust_text(result: "RobustnessEvaluation") -> str:
    """Return a sentence about the most robust run at the largest limit with an accuracy above 0, or an empty text."""
    if not result.limits:
        return ""
    norm, limits = next(iter(result.limits.items()))
    best = [max(result.worst(norm, eps).values(), key=lambda item: item.accuracy) for eps in limits]
    robust_rows = [row for row in best if row.accuracy > 0]
    row = robust_rows[-1] if robust_rows else best[0]
    units = f" of {result.n_units} groups" if result.by_group else ""
    interval = f"(95 %{units}: {row.low:.3f} … {row.high:.3f})"
    limit = f"{norm} {limit_text(norm, limits[len(robust_rows) - 1] if robust_rows else limits[0])}"
    if not robust_rows:
        return f"within {limit}, every run has robust accuracy 0.000 {interval}"
    limit_note = (
        f"; within {limit_text(norm, limits[len(robust_rows)])}, every run has robust accuracy 0"
        if len(robust_rows) < len(limits)
        else ""
    )
    return (
        f"most robust at {limit}: {row.label}, {row.accuracy:.3f} {interval} under the strongest attack, "
        f"{result.describe_strongest(row)}{limit_note}"
    )


def smallest_change_text(result: "RobustnessEvaluation") -> str:
    """Return a sentence about the run whose predicted number changes least; empty for classes and labels."""
    if not result.changes:
        return ""
    norm, limits = next(iter(result.limits.items()))
    limit_rows = [row for row in result.changes if (row.norm, row.eps) == (norm, limits[-1])]
    rows_by_run = {row.run: row for row in sorted(limit_rows, key=lambda row: row.mean)}
    row = min(rows_by_run.values(), key=lambda item: item.mean)
    limit = f"{norm} {limit_text(norm, limits[-1])}"
    return f"least changed within {limit}: {row.label}, by {row.mean:.4g} (95 %: {row.low:.4g} … {row.high:.4g})"


def _labels(result: "RobustnessEvaluation") -> dict[str, str]:
    return {run.run: run.label for run in result.runs}


def _add_norm(result: "RobustnessEvaluation", norm: str, summary: Summary, rank: int) -> None:
    """Add the worst case at each limit of a norm, or if there is one limit, the accuracy under each method."""
    limits = result.limits[norm]  # type: ignore[index]
    names = [limit_text(norm, eps) for eps in limits]
    if len(limits) == 1:
        _add_methods(result, norm, limits[0], summary, rank)
        return
    worst_cases = [result.worst(norm, eps) for eps in limits]  # type: ignore[arg-type]
    columns: list[str | Column] = ["run", Column("clean", 0), *(Column(name, 1) for name in names)]
    columns.append(Column("strongest", 2, is_text=True))
    rows = [
        (
            run.label,
            f"{run.clean:.3f}",
            *(_accuracy(rows_by_run.get(run.run)) for rows_by_run in worst_cases),
            result.describe_strongest(worst_cases[-1].get(run.run)),
        )
        for run in result.runs
    ]
    summary.table(f"{_title(result)} by limit ({norm}), worst case of all attacks", columns, rows, rank)
    for eps in limits:
        _add_methods(result, norm, eps, summary, DETAIL)


def _title(result: "RobustnessEvaluation") -> str:
    return f"accuracy on {result.n_images} of {result.n_rows} {result.part} images"


def _add_methods(result: "RobustnessEvaluation", norm: str, eps: float, summary: Summary, rank: int) -> None:
    """Add the accuracy of each run under each method within one limit, and the worst case."""
    matching_rows = [row for row in result.attacks if (row.norm, row.eps) == (norm, eps)]
    methods = list(dict.fromkeys(row.method for row in matching_rows))
    worst_cases = result.worst(norm, eps)  # type: ignore[arg-type]
    rows_by_method = {method: result.results_under(method, norm, eps) for method in methods}  # type: ignore[arg-type]
    columns: list[str | Column] = ["run", Column("clean", 0), *(Column(method, 3) for method in methods)]
    columns += [Column("worst", 1), Column("95 %", 4), Column("strongest", 2, is_text=True)]
    rows = [
        (
            run.label,
            f"{run.clean:.3f}",
            *(_accuracy(rows_by_method[method].get(run.run)) for method in methods),
            _accuracy(worst_cases.get(run.run)),
            _interval(worst_cases.get(run.run)),
            result.describe_strongest(worst_cases.get(run.run)),
        )
        for run in result.runs
    ]
    summary.table(f"{_title(result)}, clean and within {norm} {limit_text(norm, eps)}", columns, rows, rank)


def _accuracy(row: "RobustAccuracy | None") -> str:
    return "–" if row is None else f"{row.accuracy:.3f}"


def _interval(row: "RobustAccuracy | None") -> str:
    return "–" if row is None else f"{row.low:.3f} … {row.high:.3f}"


def _add_unlimited(result: "RobustnessEvaluation", summary: Summary, rank: int) -> None:
    """Add the methods without limit: robust accuracy, and the median norm of the perturbations."""
    methods = list(dict.fromkeys(row.method for row in result.attacks if row.eps is None))
    if not methods:
        return
    rows_by_method = {method: {row.run: row for row in result.attacks if row.method == method} for method in methods}
    columns: list[str | Column] = ["run", "clean", *methods]
    has_smallest = "cw" in methods
    columns += [Column("cw median l2")] if has_smallest else []
    rows = [
        (
            run.label,
            f"{run.clean:.3f}",
            *(_accuracy(rows_by_method[method].get(run.run)) for method in methods),
            *([_median(rows_by_method["cw"].get(run.run))] if has_smallest else []),
        )
        for run in result.runs
    ]
    summary.table(f"{_title(result)}, clean and without a limit", columns, rows, rank)


def _median(row: "RobustAccuracy | None") -> str:
    return "–" if row is None or row.median_norm is None else f"{row.median_norm:.3g}"


def _add_transfer(result: "RobustnessEvaluation", summary: Summary) -> None:
    """Add a matrix of each attack: the accuracy in % of each run on the images that were made on each other run."""
    is_wanted = any(row.method == "transfer" for row in result.attacks)
    attacks = list(dict.fromkeys((row.method, row.norm, row.eps) for row in result.transfer))
    numbers = {run.run: str(number) for number, run in enumerate(result.runs, start=1)}
    for attack in attacks:
        cells = {(r.source, r.run): r.accuracy for r in result.transfer if (r.method, r.norm, r.eps) == attack}
        sources = [run for run in result.runs if any(source == run.run for source, _ in cells)]
        if len(numbers) < 2:
            return
        method, norm, eps = attack
        limit = "" if eps is None else f" within {norm} {limit_text(norm, eps)}"
        title = f"transfer of {method}{limit}: accuracy in % of each run (column) on images made on each run (row)"
        columns: list[str | Column] = ["made on", *numbers.values()]
        rows: list[Sequence[object]] = [
            (f"{numbers[source.run]} {source.label}", *(_percent(cells.get((source.run, run))) for run in numbers))
            for source in sources
        ]
        other_names = [f"{numbers[run.run]} {run.label}" for run in result.runs if run not in sources]
        rows += [(name, *("–" for _ in numbers)) for name in other_names]
        summary.table(title, columns, rows, RANK_OF_TRANSFER if is_wanted and method == "pgd" else DETAIL)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _add_changes(result: "RobustnessEvaluation", summary: Summary, rank: int) -> None:
    """Add the mean of the largest changes of a number under each attack."""
    attacks = list(dict.fromkeys((row.method, row.norm, row.eps) for row in result.changes))
    names = [method if eps is None else f"{method} {norm} {limit_text(norm, eps)}" for method, norm, eps in attacks]
    cells = {(row.run, row.method, row.norm, row.eps): row.mean for row in result.changes}
    rows = [(run.label, *(cells.get((run.run, *attack), "–") for attack in attacks)) for run in result.runs]
    title = f"mean largest change of the predicted number on {result.n_images} of {result.n_rows} {result.part} images"
    summary.table(title, ["run", *names], rows, rank)
    summary.say(smallest_change_text(result), rank)


def _add_checks(result: "RobustnessEvaluation", summary: Summary) -> None:
    """Add how many sanity checks were passed, and a warning for each run with a failed one."""
    summary.say(checks_text(result))
    for run in result.runs:
        if run.failed_checks:
            summary.say(
                f"warning: {run.label} failed sanity checks of its attacks: {'; '.join(run.failed_checks)}", WARNING
            )
    if labels := result.labels_without_gradient:
        labels_text = ", ".join(labels)
        summary.say(f"without gradient, attacked by transfer and square: {labels_text}", RANK_OF_SECOND_TABLE)
    for note in result.notes:
        summary.say(f"note: {note}", WARNING)
