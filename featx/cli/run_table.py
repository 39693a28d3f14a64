"""The tables of an evaluation: all runs beside the chosen one, and groups."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featx.cli import console

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
    from featx.evaluation.group_scores import Group, Grouping

# Smaller p-values are written as "<0.001".
MIN_P_SHOWN = 0.001


def evaluations(
    results: "Sequence[Evaluation]", with_classes: bool = False, with_groups: bool = False, bias: str = "largest"
) -> None:
    """Print all runs, one table per target.

    Parameters
    ----------
    bias
        Name of the measure of the differences between groups (`featx.evaluation.group_biases.MEASURES`).
    """
    for result in results:
        evaluation(result, with_classes)
        print_biases(result, bias)
        print_groups(result, with_groups)


def evaluation(result: "Evaluation", with_classes: bool) -> None:
    """Print all runs of one target."""
    standings(result, f"{result.target} on {result.part} (n {int(result.rows[0].scores['n'])})")
    for column, names in result.scores_by_column.items():
        stems = [name.partition(".")[0] for name in names]
        titles = [console.SHORT.get(name, name.replace("_", " ")) for name in stems]
        rows = [(_marked_label(row, result), *(row.scores[name] for name in names)) for row in result.rows]
        console.table("", [f"  {column or 'all scores'}", *titles], rows)
    console.say(f"* chosen by {result.chosen_by.replace('_', ' ')}: {result.chosen}; {_test_state(result)}")
    for warning in result.warnings:
        console.say(f"warning: {warning}")
    if with_classes and result.kind == "numbers":
        console.say(f"{result.target} has numbers, so there are no scores by class")
    elif with_classes:
        for row in result.rows:
            lines = [(c["class"], c["precision"], c["recall"], c["f1"], c["n"]) for c in row.per_class]
            console.say()
            console.table(row.label, ["label" if result.kind == "labels" else "class", "P", "R", "F1", "n"], lines)


def _test_state(result: "Evaluation") -> str:
    """Return how often the test split has been opened, as text."""
    if result.n_openings:
        return f"the test split has been opened {'once' if result.n_openings == 1 else f'{result.n_openings} times'}"
    if result.log_problems:
        return "the log of openings of the test split is not complete"
    return "the test split is sealed" if result.n_test else "there is no test part"


def standings(result: "Evaluation", title: str) -> None:
    """Print each run with its score, its difference to the chosen one and its cost, then the verdict."""
    name = console.SHORT.get(result.compared, result.score.replace("_", " "))
    train = ["train"] if result.has_train_scores else []
    columns = ["  run", f"{name} (95 %)", *train, "to the chosen (95 %)", "p", "fit s", "images/s", "MB", ""]
    rows: list[Sequence[object]] = [_line(row, result) for row in result.rows]
    if all(row.images_per_s is None for row in result.rows):
        # No rate is known, so that the column would be empty.
        rate = columns.index("images/s")
        columns, rows = _without(columns, rate), [_without(row, rate) for row in rows]
    console.table(title, columns, rows)
    console.say(
        f"  p: {result.test}, not corrected for several comparisons; equivalent: within a margin of {result.margin:.2g}"
    )
    console.say(f"  {result.verdict}")
    if result.test_evidence:
        console.say(f"  test split: {result.test_evidence}")


def _without(items: "Sequence[object]", index: int) -> list[Any]:
    return [*items[:index], *items[index + 1 :]]


def _marked_label(row: "RunEvaluation", result: "Evaluation") -> str:
    """Return the label of a run, with a mark for the chosen one."""
    return ("* " if row.run == result.chosen else "  ") + row.label


def _line(row: "RunEvaluation", result: "Evaluation") -> tuple[object, ...]:
    value = row.scores.get(result.compared)
    flags = relation_flags(row, result)
    return (
        _marked_label(row, result),
        None if value is None else f"{console.cell(value)} ({span(row.intervals.get(result.compared))})",
        *([row.train_scores.get(result.score)] if result.has_train_scores else []),
        None
        if row.difference is None
        else f"{row.difference:+.4f} ({span((row.difference_low, row.difference_high))})",
        None if row.p is None else written_p(row.p),
        None if row.fit_s is None else f"{row.fit_s:.1f}",
        None if row.images_per_s is None else f"{row.images_per_s:.3g}",
        None if row.n_bytes is None else f"{row.n_bytes / 1e6:.1f}",
        ", ".join(flags),
    )


def relation_flags(row: "RunEvaluation", result: "Evaluation") -> list[str]:
    """Return the relation of a run to the chosen one, whether it is recommended, and its training warnings."""
    relation = [] if row.relation in {"reference", "too few rows", ""} else [row.relation]
    return [*(["recommended"] if row.run == result.recommended else []), *relation, *row.flags]


def print_biases(result: "Evaluation", measure: str) -> None:
    """Print how far the errors of groups lie apart, for every run and each group column."""
    from featx.evaluation.group_biases import MEASURE_TEXTS, MEASURES, too_few_text

    first = result.rows[0].biases
    if not first:
        return
    field, score = MEASURES[measure], result.main_score
    rows = [
        (
            _marked_label(row, result),
            row.scores[score],
            *(_bias_text(getattr(bias, field), bias.intervals.get(field)) for bias in row.biases.values()),
        )
        for row in result.rows
    ]
    title = f"{result.target}: {MEASURE_TEXTS[field]} of the groups (95 %)"
    console.table(title, ["  run", console.SHORT.get(score, score), *first], rows)
    for name, bias in first.items():
        if bias.too_few:
            groups = console.limited_list([f"{group} (n {n})" for group, n in bias.too_few.items()])
            console.say(f"  {name}: too few, not counted: {groups}; {too_few_text()}")


def _bias_text(value: float | None, interval: Sequence[float] | None) -> str:
    return "too few" if interval is None else f"{console.cell(value)} ({span(interval)})"


def print_groups(result: "Evaluation", with_groups: bool) -> None:
    """Print how much scores differ between groups, and on request the scores of each group."""
    from featx.evaluation.group_texts import describe_differences

    if with_groups and not result.groupings:
        console.say("groups: none; the recipe needs [groups], such as NAME = 'COLUMN'")
    if result.groupings:
        console.say(f"groups, {result.label(result.chosen)}:")
    for grouping in result.groupings:
        console.say(f"  {describe_differences(grouping)}")
        if with_groups:
            _groups(grouping)


def _groups(grouping: "Grouping") -> None:
    name = console.SHORT.get(grouping.score, grouping.score)
    columns = ["  group", "n", f"{name} (95 %)", "p", "own threshold", f"{name} by it", ""]
    console.table("", columns, [_group_line(group, grouping.score) for group in grouping.groups])
    left_out = [f"{grouping.n_missing} rows have no value"] if grouping.n_missing else []
    left_out += [f"{grouping.n_hidden} small groups are not shown"] if grouping.n_hidden else []
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
    """Return a p-value as text."""
    return f"{p:.2g}" if p >= MIN_P_SHOWN else f"<{MIN_P_SHOWN:g}"


def span(edges: Sequence[float | None] | None) -> str:
    """Return an interval as text, a dash if there is none."""
    if not edges or None in edges:
        return "–"
    return " … ".join(f"{edge:.3f}" for edge in edges if edge is not None)
