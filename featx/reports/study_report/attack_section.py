"""Attacks on the runs of a target: accuracy by limit, paired tests, smallest perturbations, examples, and transfer."""

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Any

from featx.reports.page.components import (
    Column,
    Component,
    Details,
    Gallery,
    GalleryItem,
    Picture,
    Section,
    Table,
    Text,
)
from featx.reports.study_report.attack_figures import (
    attack_name,
    limited_name,
    plot_accuracy_by_limit,
    plot_smallest_perturbations,
    plot_transfer,
)
from featx.reports.study_report.facts import TargetFacts, interval_text, plural
from featx.robustness.attack_results import AttackedRuns
from featx.robustness.attack_tables import ATTACKED, CLEAN, AttackTable
from featx.robustness.robustness_evaluation import RobustnessEvaluation, limit_text
from featx.robustness.stored_attacks import StoredAttacks, attack_notes, read_attacks

# Number of attacked images that are shown.
MAX_SHOWN_EXAMPLES = 24
NOTE = (
    "An image counts as correct if it is predicted correctly before and after the attack. Worst case: all perturbed "
    "images within the limit count, whichever attack made them and on whichever run. p: paired test of no difference "
    "to the most robust run within the largest limit, and after Holm's correction."
)


def build_attacks(facts: TargetFacts) -> Section | None:
    """Return the section about attacks; None if none was made."""
    part = "test" if facts.evaluation.part == "test" else "val"
    stored_attacks = read_attacks(facts.study, facts.target, part)
    if stored_attacks is None:
        notes = attack_notes(facts.study, facts.target, part)
        return Section("Attacks", [_warning(note) for note in notes]) if notes else None
    evaluation = stored_attacks.evaluation
    components: list[Component] = [Text(_describe_sample(evaluation)), *map(_warning, evaluation.notes)]
    components += _failed_checks(evaluation)
    name = facts.component_name("attacks")
    components += _numbers(name, evaluation) if evaluation.kind == "numbers" else _accuracies(name, stored_attacks)
    return Section("Attacks", components)


def _warning(note: str) -> Text:
    return Text(f"{note[0].upper()}{note[1:]}.", "warning")


def _describe_sample(evaluation: RobustnessEvaluation) -> str:
    units = f"whole groups, of which there are {evaluation.n_units}" if evaluation.by_group else "independent images"
    return (
        f"{plural(evaluation.n_images, 'image')} of {evaluation.n_rows} in {evaluation.part} were attacked, at "
        f"{evaluation.width_px} × {evaluation.height_px} px; intervals are of {units}. Sanity checks: "
        f"{evaluation.n_passed_checks} of {evaluation.n_checks} passed."
    )


def _failed_checks(evaluation: RobustnessEvaluation) -> Iterator[Component]:
    for run in evaluation.runs:
        if run.failed_checks:
            yield Text(f"{run.label}: failed sanity checks of its attacks: {'; '.join(run.failed_checks)}.", "warning")
    if labels := evaluation.labels_without_gradient:
        yield Text(f"Without gradient, attacked by transfer and by search: {', '.join(labels)}.", "note")


def _accuracies(name: str, stored_attacks: StoredAttacks) -> Iterator[Component]:
    evaluation, attacked_runs = stored_attacks.evaluation, stored_attacks.attacked
    runs = [run.run for run in evaluation.runs]
    norms = list(dict.fromkeys(table.attack.spec.norm for table in attacked_runs.tables if table.attack.has_limit))
    for norm in evaluation.limits:
        yield plot_accuracy_by_limit(f"{name}-{norm}", evaluation, norm)
    for norm in norms or ["l2"]:
        # Perturbations within a limit are found only where a run was attacked.
        worst_cases = [evaluation.worst(norm, eps) for eps in evaluation.limits.get(norm, [])]
        comparable_runs = [run for run in runs if all(run in cases_by_run for cases_by_run in worst_cases)]
        figure = plot_smallest_perturbations(f"{name}-smallest-{norm}", attacked_runs, comparable_runs, norm)
        if figure is not None:
            yield figure
    yield Text(NOTE, "note")
    yield _worst_table(name, evaluation)
    yield Details("Accuracy under each attack", [_attack_table(name, evaluation)])
    yield from _examples(name, stored_attacks)
    yield from _transfer(name, attacked_runs, runs)


def _worst_table(name: str, evaluation: RobustnessEvaluation) -> Table:
    """Return the accuracy of each run within each limit, with the strongest attack and p within the largest limit."""
    pairs = [(norm, eps) for norm, limits in evaluation.limits.items() for eps in limits]
    columns = [
        Column("run"),
        Column("clean", ".3f"),
        *(Column(f"{norm} {limit_text(norm, eps)}", ".3f") for norm, eps in pairs),
    ]
    columns += [Column("strongest attack"), Column("p", ".2g"), Column("p (Holm)", ".2g")]
    worst_cases = [evaluation.worst(norm, eps) for norm, eps in pairs]
    hints: dict[tuple[int, int], str] = {}
    rows: list[list[Any]] = []
    for number, run in enumerate(evaluation.runs):
        worst_rows = [cases_by_run.get(run.run) for cases_by_run in worst_cases]
        hints[number, 0] = run.run
        hints |= {(number, 1): f"95 % interval: {interval_text((run.low, run.high), '.3f')}"}
        hints |= {
            (number, 2 + i): f"95 % interval: {interval_text((row.low, row.high), '.3f')}"
            for i, row in enumerate(worst_rows)
            if row is not None
        }
        last_row = worst_rows[-1] if worst_rows else None
        accuracies = [None if row is None else row.accuracy for row in worst_rows]
        p_values = (None, None) if last_row is None else (last_row.p, last_row.p_holm)
        rows.append([run.label, run.clean, *accuracies, evaluation.describe_strongest(last_row), *p_values])
    caption = (
        f"Accuracy of all runs on {evaluation.n_images} images, unperturbed and in the worst case within each limit."
    )
    return Table(f"{name}-worst", caption, columns, rows, hints)


def _attack_table(name: str, evaluation: RobustnessEvaluation) -> Table:
    columns = [
        Column("attack"),
        Column("run"),
        Column("accuracy", ".3f"),
        Column("95 % interval"),
        Column("median norm", ".3g", "Median norm of the successful perturbations."),
        Column("p", ".2g", "Paired test of no difference to the most robust run under the same attack."),
        Column("p (Holm)", ".2g"),
    ]
    rows = [
        [
            limited_name(row.method, row.norm, row.eps),
            row.label,
            row.accuracy,
            interval_text((row.low, row.high), ".3f"),
            row.median_norm,
            row.p,
            row.p_holm,
        ]
        for row in evaluation.attacks
    ]
    return Table(f"{name}-each", "Accuracy of each run under each attack.", columns, rows)


def _examples(name: str, stored_attacks: StoredAttacks) -> Iterator[Component]:
    """Yield a gallery of attacked images, an example of each attack on each run before second ones."""
    tables = stored_attacks.attacked.tables
    examples = [(table, table.files.read_examples().to_dict("records")) for table in tables]
    first_examples = [(table, rows[0]) for table, rows in examples if rows]
    later_examples = [(table, row) for table, rows in examples for row in rows[1:]]
    shown_examples = [*first_examples, *later_examples][:MAX_SHOWN_EXAMPLES]
    if shown_examples:
        items = [_example_item(stored_attacks.attacked, table, row) for table, row in shown_examples]
        caption = (
            f"{len(shown_examples)} of {len(first_examples) + len(later_examples)} stored examples: "
            "original, difference × 10 around grey, and attacked image."
        )
        yield Gallery(f"{name}-examples", caption, items, is_even=True)


def _example_item(attacked_runs: AttackedRuns, table: AttackTable, example: dict[Any, Any]) -> GalleryItem:
    rows = table.rows[table.source]
    row = rows[rows["id"] == example["id"]].iloc[0]
    clean_text, attacked_text = (
        _prediction_text(row, column, prefix) for column, prefix in (("clean", CLEAN), ("attacked", ATTACKED))
    )
    pictures = [
        Picture(_data_uri(example["original"]), name=f"original, predicted {clean_text}"),
        Picture(_data_uri(example["difference"]), name="difference of the attacked image and the original, × 10"),
        Picture(_data_uri(example["attacked"]), name=f"attacked, predicted {attacked_text}"),
    ]
    label, attack = attacked_runs.labels[table.source], attack_name(table)
    norms = f"l∞ {row['linf']:.3g}, l2 {row['l2']:.3g}, {plural(int(row['n_queries']), 'pass')}"
    lines = [f"{label}, {attack}", f"true: {row['true']}", f"{clean_text} → {attacked_text}", norms]
    return GalleryItem(str(example["id"]), pictures, lines, {"run": label, "attack": attack})


def _prediction_text(row: Any, column: str, prefix: str) -> str:
    """Return a prediction with its probability, if it is that of one class."""
    probability = row.get(f"{prefix}{row[column]}", math.nan)
    return str(row[column]) if math.isnan(probability) else f"{row[column]} ({probability:.2f})"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _transfer(name: str, attacked_runs: AttackedRuns, runs: Sequence[str]) -> Iterator[Component]:
    """Yield a matrix of each attack that uses gradients; those with the largest limits first, others in details."""
    if len(runs) < 2:
        return
    tables_by_attack: dict[str, list[AttackTable]] = {}
    for table in attacked_runs.tables:
        if table.attack.needs_gradient:
            tables_by_attack.setdefault(attack_name(table), []).append(table)
    if not tables_by_attack:
        return
    # Images of one step transfer less, and those of 'cw' are as close to the originals as possible.
    sorted_groups = sorted(
        tables_by_attack.values(), key=lambda tables: (_rank(tables[0]), -(tables[0].attack.eps or 0))
    )
    figures = [
        plot_transfer(f"{name}-transfer-{number}", attacked_runs, tables, runs)
        for number, tables in enumerate(sorted_groups)
    ]
    yield figures[0]
    if len(figures) > 1:
        yield Details("Transfer of the other attacks", figures[1:])


def _rank(table: AttackTable) -> int:
    order = ("pgd", "standard", "apgd", "fgsm")
    method = table.attack.spec.method
    return order.index(method) if method in order else len(order)


def _numbers(name: str, evaluation: RobustnessEvaluation) -> Iterator[Component]:
    columns = [
        Column("attack"),
        Column("run"),
        Column("mean change", ".4g", "Mean over the images of the largest absolute change of the predicted number."),
        Column("95 % interval"),
        Column("median change", ".4g"),
        Column("largest change", ".4g"),
    ]
    rows = [
        [
            limited_name(row.method, row.norm, row.eps),
            row.label,
            row.mean,
            interval_text((row.low, row.high), ".4g"),
            row.median,
            row.largest,
        ]
        for row in evaluation.changes
    ]
    yield Table(
        f"{name}-changes", "Largest change of the predicted number within the limit, up or down.", columns, rows
    )
