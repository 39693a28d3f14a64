"""Summary of a report in five sentences: best run, ties, ensembles, warnings, and openings of the test split."""

from featx.evaluation.comparison import MIN_UNITS_TO_COMPARE
from featx.evaluation.evaluation_table import Evaluation
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat
from featx.reports.page.components import Text
from featx.reports.study_report.facts import TargetFacts, interval_text, plural, score_name
from featx.study.ensemble_metrics import EnsembleMetrics

# Number of runs that a sentence names.
MAX_NAMED_RUNS = 4


def summarize(facts: TargetFacts) -> list[Text]:
    """Return the five sentences about one target."""
    sentences = (
        _best_run(facts),
        _ties(facts.evaluation),
        _ensembles(facts),
        _warnings(facts),
        _test_split(facts),
    )
    return [Text(sentence, "summary") for sentence in sentences]


def describe_score(evaluation: Evaluation) -> str:
    """Return the score of the chosen run, which runs are compared in, with its interval and the number of rows."""
    row = next(row for row in evaluation.rows if row.run == evaluation.chosen)
    name = evaluation.compared
    score_format = ScoreFormat.of(name, [row.scores[name]])
    text = f"{score_name(name)} {score_format.show(row.scores[name])}"
    if name in row.intervals:
        text += f" (95 % interval {interval_text(row.intervals[name], score_format.value)}, n {row.scores['n']:,})"
    else:
        text += f" (n {row.scores['n']:,})"
    score = evaluation.main_score
    value_text = ScoreFormat.of(score, [row.scores[score]]).show(row.scores[score])
    return text if name == score else f"{text}, {score_name(score)} {value_text}"


def _best_run(facts: TargetFacts) -> str:
    evaluation = facts.evaluation
    chosen_label = evaluation.label(evaluation.chosen)
    return (
        f"{evaluation.target}: the best of {plural(len(evaluation.rows), 'run')} is {chosen_label}, selected by "
        f"{score_name(evaluation.chosen_by)}: {describe_score(evaluation)}."
    )


def _ties(evaluation: Evaluation) -> str:
    """Name the runs that are equivalent to the chosen one, and the cheapest of them."""
    if len(evaluation.rows) == 1:
        return "There is no other run to compare it with."
    n_rows = evaluation.rows[0].scores["n"]
    if any(row.relation == "too few rows" for row in evaluation.rows):
        return (
            f"The {n_rows} {evaluation.part} rows are too few to compare runs: expected {MIN_UNITS_TO_COMPARE} "
            "independent rows or more."
        )
    undecided_runs = [row.run for row in evaluation.rows if row.relation == "not shown to differ"]
    margin = f"within a margin of {evaluation.margin:.2g}"
    if evaluation.equivalent:
        text = f"Equivalent to it {margin}: {_names(evaluation, evaluation.equivalent)}"
    else:
        text = f"No run is shown to be equivalent to it {margin}"
    if undecided_runs:
        text += (
            f"; not shown to differ from it, which is no evidence of equivalence: {_names(evaluation, undecided_runs)}"
        )
    if evaluation.recommended == evaluation.chosen:
        return f"{text}. It is also the recommended run."
    return f"{text}. Recommended is {evaluation.label(evaluation.recommended)}, the cheapest of the equivalent runs."


def _names(evaluation: Evaluation, runs: list[str]) -> str:
    """Return the labels of the first runs, and the number of the others."""
    labels = [evaluation.label(run) for run in runs[:MAX_NAMED_RUNS]]
    n_others = len(runs) - len(labels)
    return ", ".join(labels) + (f" and {n_others} others" if n_others > 1 else " and 1 other" if n_others else "")


def _ensembles(facts: TargetFacts) -> str:
    """Compare the best ensemble with its best member."""
    scored_runs = [(run, metrics) for run in facts.runs if isinstance(metrics := run.folder.metrics, EnsembleMetrics)]
    if not scored_runs:
        return "There is no ensemble; 'featx ensemble' builds some."
    metric = scored_runs[0][1].metric
    sign = find_score(metric).signed
    run, metrics = max(
        ((run, metrics) for run, metrics in scored_runs if metrics.metric == metric),
        key=lambda pair: find_score(metric).sort_key(pair[1].score),
    )
    rows = metrics.disagreements
    member = {candidate.name: candidate.label for candidate in facts.runs}.get(metrics.best_member, metrics.best_member)
    is_better = sign(metrics.score) > sign(metrics.best_member_score)
    score_format = ScoreFormat.of(metric, [metrics.score, metrics.best_member_score])
    scores_text = " against ".join(map(score_format.show, (metrics.score, metrics.best_member_score)))
    text = (
        f"The best ensemble, {run.label}, has {'a' if is_better else 'no'} better score than its best member, "
        f"{member}: {score_name(metric)} {scores_text}"
    )
    comparison_text = "closer to the truth" if facts.evaluation.kind == "numbers" else "right"
    if not rows.n_different:
        return f"{text}; the two predict the same."
    return (
        f"{text}; the two differ on {rows.n_different} predictions, where the ensemble is {comparison_text} "
        f"{plural(rows.n_ensemble_right, 'time')} and the member {plural(rows.n_member_right, 'time')} "
        f"(sign test over {rows.units}, p = {rows.p:.2g})."
    )


def _warnings(facts: TargetFacts) -> str:
    n_runs = sum(bool(run.evaluation.flags) for run in facts.runs)
    n_rows = len(facts.evaluation.warnings)
    if not n_runs and not n_rows:
        return "There are no warnings about the runs or the rows."
    chosen_run = facts.chosen
    flags_text = f"the chosen run has: {', '.join(chosen_run.evaluation.flags)}" if chosen_run.evaluation.flags else ""
    flags_text = flags_text or "the chosen run has none"
    verb = "has" if n_runs == 1 else "have"
    about_rows = f"{plural(n_rows, 'warning')} about the scored rows" if n_rows else "no warnings about the scored rows"
    return f"{n_runs} of {plural(len(facts.runs), 'run')} {verb} warnings ({flags_text}), and there are {about_rows}."


def _test_split(facts: TargetFacts) -> str:
    """Return how often the test split was opened, and the test score of the run that was chosen then."""
    evaluation, final = facts.evaluation, facts.final
    openings_text = f"opened {len(facts.openings)} time{'' if len(facts.openings) == 1 else 's'}"
    problems = log_problems(evaluation)
    if final is not None:
        text = (
            f"On the test split, the run that was chosen at its last opening, {final.label(final.chosen)}, has "
            f"{describe_score(final)}; the split has been {openings_text}{problems}."
        )
        return f"{text} {_sentence(final.test_evidence)}".rstrip()
    if facts.openings:
        return (
            f"The test split has been {openings_text}{problems}, "
            "but there are no test scores for the current data and runs."
        )
    if evaluation.n_test:
        return f"The test split is sealed and has not been opened{problems}."
    return "The split has no test part, so there are no test scores."


def log_problems(evaluation: Evaluation) -> str:
    """Return the problems of the log of openings in parentheses; empty if it is complete."""
    problems = "; ".join(evaluation.log_problems)
    return f" (the log of openings is not complete: {problems})" if problems else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
