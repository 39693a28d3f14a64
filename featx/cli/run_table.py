"""Runs beside the best of them, as people read it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
    from featx.evaluation.group_scores import Group, Grouping

LEAST_P = 0.001  # that is written out


def evaluations(found: "Sequence[Evaluation]", with_classes: bool = False, with_groups: bool = False) -> None:
    """Print all runs, one table a target."""
    for one in found:
        evaluation(one, with_classes)
        for_whom(one, with_groups)


def evaluation(found: "Evaluation", with_classes: bool) -> None:
    """Print all runs of one target."""
    standings(found, f"{found.target} on {found.part} (n {int(found.rows[0].scores['n'])})")
    names = found.scores
    titles = [console.SHORT.get(name, name.replace("_", " ")) for name in names]
    rows = [
        (("* " if row.run == found.chosen else "  ") + row.run, *(row.scores[name] for name in names))
        for row in found.rows
    ]
    console.table("", ["  all scores", *titles], rows)
    looks = f"; the test split has been opened {found.n_looks} times" if found.n_looks else "; the test split is sealed"
    console.say(f"* chosen by {found.chosen_by.replace('_', ' ')}{looks.replace('1 times', 'once')}")
    for warning in found.warnings:
        console.say(f"warning: {warning}")
    if with_classes:
        for row in found.rows:
            lines = [(c["class"], c["precision"], c["recall"], c["f1"], c["n"]) for c in row.per_class]
            console.say()
            console.table(row.run, ["class", "P", "R", "F1", "n"], lines)


def standings(found: "Evaluation", title: str) -> None:
    """Print each run with its score, its difference to the chosen one, and its cost; then what follows from them."""
    name = console.SHORT.get(found.compared, found.score.replace("_", " "))
    columns = ["  run", f"{name} (95 %)", "to the chosen (95 %)", "p", "fit s", "images/s", "MB", ""]
    console.table(title, columns, [_line(row, found) for row in found.rows])
    console.say(f"  p: {found.test}, of each comparison alone; equivalent: within a margin of {found.margin:.2g}")
    console.say(f"  {found.verdict}")
    if found.test_evidence:
        console.say(f"  test split: {found.test_evidence}")


def _line(row: "RunEvaluation", found: "Evaluation") -> tuple[str | None, ...]:
    value = row.scores.get(found.compared)
    marks = relation_marks(row, found)
    return (
        ("* " if row.run == found.chosen else "  ") + row.run,
        None if value is None else f"{console.cell(value)} ({span(row.intervals.get(found.compared))})",
        None
        if row.difference is None
        else f"{row.difference:+.4f} ({span((row.difference_low, row.difference_high))})",
        None if row.p is None else written_p(row.p),
        None if row.fit_s is None else f"{row.fit_s:.1f}",
        None if row.images_per_s is None else f"{row.images_per_s:.3g}",
        None if row.n_bytes is None else f"{row.n_bytes / 1e6:.1f}",
        ", ".join(marks),
    )


def relation_marks(row: "RunEvaluation", found: "Evaluation") -> list[str]:
    """Return how a run relates to the chosen one, whether it is recommended, and the warnings of its training."""
    relation = [] if row.relation in {"reference", "too few rows", ""} else [row.relation]
    return [*(["recommended"] if row.run == found.recommended else []), *relation, *row.marks]


def for_whom(found: "Evaluation", with_groups: bool) -> None:
    """Say how far the groups of each grouping lie apart; with their scores where asked for."""
    from featx.evaluation.group_texts import bias_text

    if found.groupings:
        console.say(f"for whom, {found.chosen}:")
    for one in found.groupings:
        console.say(f"  {bias_text(one)}")
        if with_groups:
            _groups(one)


def _groups(found: "Grouping") -> None:
    name = console.SHORT.get(found.score, found.score)
    columns = ["  group", "n", f"{name} (95 %)", "p", "own threshold", f"{name} by it", ""]
    console.table("", columns, [_group_line(group, found.score) for group in found.groups])
    left_out = [f"{found.n_missing} rows have no value"] if found.n_missing else []
    left_out += [f"{found.n_hidden} small groups are left out"] if found.n_hidden else []
    if left_out:
        console.say(f"  {'; '.join(left_out)}")


def _group_line(group: "Group", score: str) -> tuple[object, ...]:
    value = console.cell(group.scores[score])
    return (
        f"  {group.name}",
        group.n if group.n_units is None else f"{group.n} in {group.n_units} units",
        f"{value} ({span(group.intervals[score])})" if group.is_compared else value,
        None if group.p_holm is None else written_p(group.p_holm),
        group.threshold,
        group.score_by_threshold,
        "worse" if group.is_flagged else "" if group.is_compared else "too few to compare",
    )


def written_p(p: float) -> str:
    """Write a p-value, small ones as what they are below."""
    return f"{p:.2g}" if p >= LEAST_P else f"<{LEAST_P:g}"


def span(edges: Sequence[float | None] | None) -> str:
    """Write an interval; a dash for what there is not."""
    if not edges or None in edges:
        return "–"
    return " … ".join(f"{edge:.3f}" for edge in edges if edge is not None)
