"""Choice and recommendation of a run, and their reasons as text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from featx.evaluation.comparison import ALPHA, MIN_UNITS_TO_COMPARE, Comparison
from featx.evaluation.cost import Cost, find_cheapest, find_simplest
from featx.metrics.collapse import ONE_CLASS, ONE_NUMBER
from featx.metrics.score_texts import ScoreFormat
from featx.study.run_warnings import TRAIN_USED

# Warnings of training which mean that a run is not usable.
FAILURE_FLAGS = frozenset({"dead head", ONE_CLASS, ONE_NUMBER, "diverged", "nan"})
# Relative difference up to which selection scores count as equal.
SCORE_TOLERANCE = 1e-12


def has_failed(flags: Collection[str]) -> bool:
    """Return whether the warnings of a run say that its training failed."""
    return bool(FAILURE_FLAGS & set(flags))


def find_excluded_runs(flags: Mapping[str, Collection[str]]) -> set[str]:
    """Return the runs that are not chosen: those whose training failed, or whose scores leak train rows.

    The latter are heads on networks that may have learnt the rows which the runs are compared on; they can be chosen if
    there is no other run.

    Parameters
    ----------
    flags
        Run name → names of its warnings.
    """
    failed_names = {run for run, run_flags in flags.items() if has_failed(run_flags)}
    excluded_names = failed_names | {run for run, run_flags in flags.items() if TRAIN_USED in run_flags}
    return excluded_names if len(excluded_names) < len(flags) else failed_names


def describe_leaking_runs(flags: Mapping[str, Collection[str]], labels: Mapping[str, str]) -> list[str]:
    """Return a warning about runs whose out-of-fold scores leak train rows; an empty list without such runs.

    Parameters
    ----------
    flags
        Run name → names of its warnings.
    labels
        Run name → label.
    """
    names = [run for run, run_flags in flags.items() if TRAIN_USED in run_flags]
    if not names:
        return []
    excluded_text = "" if find_excluded_runs(flags).isdisjoint(names) else ", and they are not chosen"
    return [
        f"{len(names)} of {len(flags)} runs use a fine-tuned network that may have learnt the train rows, first "
        f"{labels[names[0]]}: their out-of-fold scores are too high{excluded_text}; set 'split.val' to compare them on "
        "val, or compare them on test"
    ]


def choose_run(
    selection_scores: Mapping[str, float], excluded_names: Collection[str], costs: Mapping[str, Cost]
) -> str:
    """Return the run with the best score among those that are not excluded.

    Among equal runs, the one of the fewest models is taken, then the smallest, then the first by name. Measured times
    are not used, so that the choice is reproducible.

    Parameters
    ----------
    selection_scores
        Run name → selection score, greater is better; minus infinity if it is undefined.
    excluded_names
        Names of the runs that are chosen only if there are no others (`find_excluded_runs`).
    costs
        Run name → costs.
    """
    candidates = [run for run in selection_scores if run not in excluded_names] or list(selection_scores)
    best = max(selection_scores[run] for run in candidates)
    min_score = best - SCORE_TOLERANCE * max(1.0, abs(best))
    return find_simplest(sorted(run for run in candidates if selection_scores[run] >= min_score), costs)


@dataclass(frozen=True)
class Recommendation:
    """Recommendation of a run, based on the selection rows.

    Attributes
    ----------
    run
        Name of the cheapest run among the chosen one and those equivalent runs that can replace it.
    equivalent
        Names of the runs equivalent to the chosen one, without excluded runs.
    text
        Reasons for the recommendation.
    """

    run: str
    equivalent: list[str]
    text: str


def recommend(
    comparison: Comparison, costs: Mapping[str, Cost], excluded_names: Collection[str], rows_text: str
) -> Recommendation:
    """Return the recommended run.

    Parameters
    ----------
    comparison
        All runs compared with the chosen one on the selection rows.
    costs
        Run name → costs.
    excluded_names
        Names of the runs that are never recommended instead of the chosen one (`find_excluded_runs`).
    rows_text
        Number and part of the rows, as ``394 val rows``.
    """
    equivalent = [run for run in comparison.related("equivalent") if run not in excluded_names]
    candidates = [comparison.reference, *filter(comparison.can_replace_reference, equivalent)]
    run = find_cheapest(candidates, costs)
    return Recommendation(run, equivalent, _recommendation_text(comparison, run, equivalent, rows_text))


def _recommendation_text(comparison: Comparison, run: str, equivalent: Sequence[str], rows_text: str) -> str:
    chosen_label, margin = comparison.label(comparison.reference), comparison.margin
    if len(comparison.runs) == 1:
        return f"{chosen_label} is the only run, so there is no comparison"
    names = list(comparison.runs)[1:]
    is_best = not any(map(comparison.is_better, names))
    if not comparison.has_enough_units:
        return (
            f"{rows_text} are too few to compare runs (expected {MIN_UNITS_TO_COMPARE} or more); "
            f"{chosen_label} {'has the best score' if is_best else 'is the chosen run'}"
        )
    undecided_runs = [name for name in names if name not in equivalent and not comparison.runs[name].p < ALPHA]
    parts = [
        f"equivalent to {chosen_label} within a margin of {margin:.2g} on {rows_text}: {_list(comparison, equivalent)}"
    ]
    if undecided_runs:
        names_text = _list(comparison, undecided_runs)
        parts.append(f"not shown to differ from it, which is no evidence of equivalence: {names_text}")
    has_lower_p = all(comparison.runs[name].p_holm < ALPHA for name in names)
    if is_best and not undecided_runs and not equivalent and has_lower_p:
        parts.append("it is significantly better than all other runs")
    is_reference = run == comparison.reference
    best_text = "the run with the best score" if is_best else "the chosen run"
    reason = best_text if is_reference else "the cheapest of the equivalent runs"
    bound = comparison.runs[run].max_gap_to_best
    doubt_text = f", which exceeds the margin: {rows_text} are too few to exclude it" if bound > margin else ""
    parts.append(
        f"recommended: {comparison.label(run)}, {reason}; another run may be better by up to {bound:.2g}{doubt_text}"
    )
    return ". ".join([parts[0], *(part[0].upper() + part[1:] for part in parts[1:])])


def _list(comparison: Comparison, runs: Sequence[str]) -> str:
    """Return the labels of runs as a list in a sentence."""
    return ", ".join(map(comparison.label, runs)) or "none"


def describe_evidence(comparison: Comparison, selection: Comparison, recommended: str, rows_text: str) -> str:
    """Describe the evidence of the test rows against the choice on the selection rows.

    Parameters
    ----------
    comparison, selection
        All runs compared with the chosen one on the test rows, and on the selection rows.
    recommended
        Name of the recommended run.
    rows_text
        Number and part of the test rows, as ``500 test rows``.
    """
    if len(comparison.runs) == 1:
        return ""
    if not comparison.has_enough_units:
        return f"{rows_text} are too few to test the choice (expected {MIN_UNITS_TO_COMPARE} or more)"
    chosen_run, n_tests = comparison.reference, len(comparison.runs) - 1
    score_format = ScoreFormat.of(comparison.score, [run.score for run in comparison.runs.values()])
    chosen_label = comparison.label(chosen_run)
    better = sorted(comparison.related("better"), key=lambda run: -abs(comparison.runs[run].difference))
    equivalent = comparison.related("equivalent")
    better += [run for run in equivalent if comparison.runs[run].p < ALPHA and comparison.is_better(run)]
    parts = [
        f"on {rows_text}, {comparison.label(run)} is better than the chosen run {chosen_label} by "
        f"{score_format.show(abs(comparison.runs[run].difference))} "
        f"({_p_text(comparison, run, n_tests)}); on the selection rows it was {_relation_text(selection, run)}"
        for run in better
    ]
    if recommended != chosen_run and comparison.relation(recommended) == "worse":
        deficit = abs(comparison.runs[recommended].difference)
        parts.append(
            f"on {rows_text}, the recommended run {comparison.label(recommended)} is worse than the chosen run "
            f"{chosen_label} by {score_format.show(deficit)} ({_p_text(comparison, recommended, n_tests)})"
        )
    return "; ".join(parts) or f"on {rows_text}, no run is shown to be better than the chosen run {chosen_label}"


def _relation_text(selection: Comparison, run: str) -> str:
    relation = selection.relation(run)
    return {"too few rows": "not compared", "equivalent": "equivalent to it"}.get(relation, relation)


def _p_text(comparison: Comparison, run: str, n_tests: int) -> str:
    """Return the p-value of one comparison, followed by the corrected one if there are several comparisons."""
    result = comparison.runs[run]
    correction_text = f", {result.p_holm:.2g} after Holm's correction for {n_tests} comparisons" if n_tests > 1 else ""
    return f"p = {result.p:.2g}{correction_text}"
