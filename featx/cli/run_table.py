"""The tables of an evaluation: all runs beside the chosen one, and groups."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from featx.cli import console
from featx.cli.command_summary import DETAIL, Summary
from featx.cli.output_settings import output_settings, with_recipe_option
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
    from featx.evaluation.group_scores import Group, Grouping
    from featx.metrics.score_texts import ScoreFormat

# Smaller p-values are written as "<0.001".
MIN_P_SHOWN = 0.001


def evaluations(
    results: "Sequence[Evaluation]",
    with_classes: bool = False,
    with_groups: bool = False,
    bias: str | None = None,
    next_step: str = "",
    extra_lines: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Print the best runs of each target and what to do next; with ``--verbose`` all runs and all scores.

    Parameters
    ----------
    bias
        Name of the measure of the differences between groups that are printed for every run
        (`featx.evaluation.group_biases.MEASURES`); None prints the largest difference, if groups are asked for.
    next_step
        Command to type next; by default the one that follows from the state of the test split.
    extra_lines
        Target → lines about results of other commands.
    """
    with Summary() as summary:
        if len(results) > 1 and not output_settings().verbose:
            _add_targets(results, summary)
        else:
            for result in results:
                _add_evaluation(result, summary)
        for result in results:
            for line in (extra_lines or {}).get(result.target, ()):
                summary.say(line if len(results) == 1 else f"{result.target}: {line}", 1)
        summary.next_step(next_step or _next_command(results[0]))
    for result in results:
        _print_uncertainty(result)
        if with_classes:
            _print_classes(result)
        if with_groups or bias or output_settings().verbose:
            print_biases(result, bias or "largest")
        if with_groups or output_settings().verbose:
            print_groups(result, with_groups)


def _next_command(result: "Evaluation") -> str:
    report = with_recipe_option("featx report")
    if result.part == "test":
        return f"{report}, which writes these scores into report.html"
    if result.n_test and not result.n_openings:
        return f"{report}; when all models are made, {with_recipe_option('featx evaluate --final')}"
    return report


def _add_targets(results: "Sequence[Evaluation]", summary: Summary) -> None:
    """Add the chosen run of each target."""
    rows = []
    for result in results:
        row = next(row for row in result.rows if row.run == result.chosen)
        score_format = result.score_format(result.compared)
        value = score_format.show(row.scores.get(result.compared))
        score = console.short_name(result.compared)
        name, recommended = (_run_name(result, run) for run in (result.chosen, result.recommended or result.chosen))
        rows.append(
            (
                result.target,
                name,
                f"{score} {value}",
                score_format.interval(row.intervals.get(result.compared)),
                recommended,
            )
        )
    columns: list[str | Column] = [
        "target",
        Column("chosen run", is_text=True),
        "score",
        Column("95 %", 3),
        Column("recommended", 4, True),
    ]
    summary.table(f"{len(results)} targets on {results[0].part}", columns, rows)
    summary.warn(text for result in results for text in (*_unfinished_text(result), *result.warnings))
    summary.say(f"'{with_recipe_option('featx evaluate --target NAME')}' compares the runs of one target", 2)


def _add_evaluation(result: "Evaluation", summary: Summary) -> None:
    """Add the runs of one target, the choice between them, and all scores."""
    from featx.evaluation.certified_runs import describe_certificates

    title = f"{result.target} on {result.part} (n {int(result.rows[0].scores['n'])}); {_test_state(result)}"
    columns, rows = standings(result)
    summary.table(title, columns, rows)
    summary.result(_chosen_text(result))
    _add_recommendation(result, summary)
    # Runs are sorted by their score, so that the line of the best smoothed run stays.
    for number, certified_run in enumerate(result.certificates):
        summary.say(f"certified: {describe_certificates(certified_run)}", DETAIL if number else 0)
    summary.warn([*_unfinished_text(result), *result.warnings])
    for column, names in result.scores_by_column.items():
        stems = [name.partition(".")[0] for name in names]
        titles = [console.short_name(name) for name in stems]
        formats = [result.score_format(name) for name in names]
        score_rows = [
            (
                _marked_name(row, result),
                *(item.show(row.scores[name]) for item, name in zip(formats, names, strict=True)),
            )
            for row in result.rows
        ]
        summary.table("", [f"  {column or 'all scores'}", *titles], score_rows, rank=DETAIL)


def _unfinished_text(result: "Evaluation") -> list[str]:
    """Return a warning about runs of the recipe that are not finished; nothing if all are."""
    names_text = console.limited_list(result.unfinished)
    return [f"not finished, so not compared: {names_text}; 'featx run' makes them"] if names_text else []


def _chosen_text(result: "Evaluation") -> str:
    """Return the chosen run with its score and interval as text."""
    row = next(row for row in result.rows if row.run == result.chosen)
    name = console.short_name(result.compared)
    score_format = result.score_format(result.compared)
    score = f"{name} {score_format.show(row.scores.get(result.compared))}"
    interval = row.intervals.get(result.compared)
    interval_text = f" (95 %: {score_format.interval(interval)})" if interval else ""
    chosen_by = result.chosen_by.replace("_", " ")
    return f"* chosen by {chosen_by}: {_run_name(result, result.chosen)}, {score}{interval_text} on {result.part}"


def _add_recommendation(result: "Evaluation", summary: Summary) -> None:
    """Add the recommendation, shortened if ``--verbose`` is not given, and the evidence of the test split."""
    if output_settings().verbose:
        summary.say(
            f"  p: {result.test}, not corrected for several comparisons; equivalent: within a margin of "
            f"{result.margin:.2g}"
        )
        summary.say(f"  {result.recommendation}")
    else:
        summary.say(_short_recommendation(result), 1)
    if result.test_evidence:
        summary.say(f"test split: {result.test_evidence}", 3)


def _short_recommendation(result: "Evaluation") -> str:
    """Return the recommendation in one sentence."""
    if len(result.rows) == 1 or not result.recommended or all(row.p is None for row in result.rows):
        return result.recommendation
    name = _run_name(result, result.recommended)
    if result.recommended == result.chosen:
        n_open = sum(row.relation in {"equivalent", "not shown to differ"} for row in result.rows)
        ties_text = f"; {n_open} of {len(result.rows) - 1} other runs are not shown to differ from it" if n_open else ""
        return f"recommended: {name}, the run with the best {result.chosen_by.replace('_', ' ')}{ties_text}"
    return f"recommended: {name}, the cheapest of {len(result.equivalent)} runs that are equivalent to the chosen one"


def _print_uncertainty(result: "Evaluation") -> None:
    """Print the scores that ``--coverage`` and ``--abstain-below`` add, for every run."""
    from featx.evaluation.coverage import UNCERTAINTY_SCORES

    names = [name for name in UNCERTAINTY_SCORES if any(name in row.scores for row in result.rows)]
    if names:
        rows = [
            (
                console.run_name(row.run, row.label),
                *(result.score_format(name).show(row.scores.get(name)) for name in names),
            )
            for row in result.rows
        ]
        console.say()
        console.table(result.target, ["run", *(name.replace("_", " ") for name in names)], rows)


def _print_classes(result: "Evaluation") -> None:
    """Print precision, recall and F1 of each class, for every run."""
    if result.kind == "numbers":
        console.say(f"{result.target} has numbers, so there are no scores by class")
        return
    for row in result.rows:
        lines = [(c["class"], c["precision"], c["recall"], c["f1"], c["n"]) for c in row.per_class]
        console.say()
        columns = ["label" if result.kind == "labels" else "class", "P", "R", "F1", "n"]
        console.table(console.run_name(row.run, row.label), columns, lines)


def _test_state(result: "Evaluation") -> str:
    """Return how often the test split has been opened, as text."""
    if result.n_openings:
        times = "once" if result.n_openings == 1 else f"{result.n_openings} times"
        problem = " (the log of openings is not complete)" if result.log_problems else ""
        return f"the test split has been opened {times}{problem}"
    if result.log_problems:
        return "the log of openings of the test split is not complete"
    return "the test split is sealed" if result.n_test else "there is no test part"


def standings(result: "Evaluation") -> tuple[list[str | Column], list[tuple[object, ...]]]:
    """Return columns and rows of the runs with their scores, differences to the chosen one, and costs."""
    name = console.short_name(result.compared)
    train = [Column("train", 6)] if result.has_train_scores else []
    columns: list[str | Column] = ["  run", Column(f"{name} (95 %)", 1), *train]
    columns += [Column("to the chosen (95 %)", 2), Column("p", 3), Column("fit s", 7), Column("images/s", 5)]
    columns += [Column("MB", 8), Column("relation", 4, is_text=True), Column("warnings", 9, is_text=True)]
    return columns, [_line(row, result) for row in result.rows]


def _with_interval(value: float | None, edges: Sequence[float] | None, score_format: "ScoreFormat") -> str:
    return f"{score_format.show(value)} ({score_format.interval(edges)})"


def _run_name(result: "Evaluation", run: str) -> str:
    """Return the name of a run as the options ask for it."""
    return console.run_name(run, result.label(run))


def _marked_name(row: "RunEvaluation", result: "Evaluation") -> str:
    """Return the name of a run, with a mark for the chosen one."""
    return ("* " if row.run == result.chosen else "  ") + console.run_name(row.run, row.label)


def _line(row: "RunEvaluation", result: "Evaluation") -> tuple[object, ...]:
    value, score_format = row.scores.get(result.compared), result.score_format(result.compared)
    difference_edges = score_format.interval((row.difference_low, row.difference_high))
    return (
        _marked_name(row, result),
        None if value is None else _with_interval(value, row.intervals.get(result.compared), score_format),
        *([score_format.show(row.train_scores.get(result.score))] if result.has_train_scores else []),
        None if row.difference is None else f"{score_format.show(row.difference, '+')} ({difference_edges})",
        None if row.p is None else written_p(row.p),
        None if row.fit_s is None else f"{row.fit_s:.1f}",
        None if row.images_per_s is None else f"{row.images_per_s:.3g}",
        None if row.n_bytes is None else f"{row.n_bytes / 1e6:.1f}",
        ", ".join(relations(row, result)),
        ", ".join(row.flags),
    )


def relations(row: "RunEvaluation", result: "Evaluation") -> list[str]:
    """Return whether a run is recommended, and its relation to the chosen one."""
    relation = [] if row.relation in {"reference", "too few rows", ""} else [row.relation]
    return [*(["recommended"] if row.run == result.recommended else []), *relation]


def print_biases(result: "Evaluation", measure: str) -> None:
    """Print how far the errors of groups lie apart, for every run and each group column."""
    from featx.evaluation.group_biases import MEASURE_TEXTS, MEASURES, too_few_text

    first_biases = result.rows[0].biases
    if not first_biases:
        return
    field, score = MEASURES[measure], result.main_score
    score_format = result.score_format(score)
    rows = [
        (
            _marked_name(row, result),
            score_format.show(row.scores[score]),
            *(
                _bias_text(getattr(bias, field), bias.intervals.get(field), result.bias_format(field))
                for bias in row.biases.values()
            ),
        )
        for row in result.rows
    ]
    title = f"{result.target}: {MEASURE_TEXTS[field]} of the groups (95 %)"
    console.table(title, ["  run", console.short_name(score), *first_biases], rows)
    for name, bias in first_biases.items():
        if bias.too_few:
            groups = console.limited_list([f"{group} (n {n})" for group, n in bias.too_few.items()])
            console.say(f"  {name}: too few, not counted: {groups}; {too_few_text()}")


def _bias_text(value: float | None, interval: Sequence[float] | None, score_format: "ScoreFormat") -> str:
    return "too few" if interval is None else _with_interval(value, interval, score_format)


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
    from featx.metrics.score_texts import ScoreFormat

    name = console.short_name(grouping.score)
    columns: list[str | Column] = [
        "  group",
        Column("n", 2),
        Column(f"{name} (95 %)", 0),
        Column("p", 3),
        Column("own threshold", 4),
    ]
    columns += [Column(f"{name} by it", 5), Column("", 1, is_text=True)]
    score_format = ScoreFormat.of(grouping.score, [group.scores[grouping.score] for group in grouping.groups])
    console.table("", columns, [_group_line(group, grouping.score, score_format) for group in grouping.groups])
    omission_notes = [f"{grouping.n_missing} rows have no value"] if grouping.n_missing else []
    omission_notes += [f"{grouping.n_omitted_groups} small groups are not shown"] if grouping.n_omitted_groups else []
    if omission_notes:
        console.say(f"  {'; '.join(omission_notes)}")


def _group_line(group: "Group", score: str, score_format: "ScoreFormat") -> tuple[object, ...]:
    value = group.scores[score]
    return (
        f"  {group.name}",
        group.n if group.n_units is None else f"{group.n} in {group.n_units} units",
        _with_interval(value, group.intervals[score], score_format) if group.is_compared else score_format.show(value),
        None if group.p_holm is None else written_p(group.p_holm),
        group.threshold,
        group.score_by_threshold,
        "worse" if group.is_flagged else "" if group.is_compared else "too few to compare",
    )


def written_p(p: float) -> str:
    """Return a p-value as text."""
    return f"{p:.2g}" if p >= MIN_P_SHOWN else f"<{MIN_P_SHOWN:g}"
