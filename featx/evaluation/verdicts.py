"""Which run is chosen, which one is recommended, and what that is based on, in words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from featx.evaluation.comparison import FEWEST, SIGNIFICANT, Comparison
from featx.evaluation.cost import Cost, cheapest, simplest
from featx.metrics.definitions import is_better_less

# Warnings of training which mean that a run has learnt nothing that can be relied on.
FAILED = frozenset({"dead head", "one class", "diverged", "nan"})
EQUAL_SCORES = 1e-12


def has_failed(marks: Collection[str]) -> bool:
    """Return whether the warnings of a run say that its training failed."""
    return bool(FAILED & set(marks))


def chosen_run(merits: Mapping[str, float], failed: Collection[str], costs: Mapping[str, Cost]) -> str:
    """Return the run of the best score; of equal ones the one of the fewest models, then the smallest, then the first.

    Measured times do not count here: the choice is the same whenever it is made again.

    Parameters
    ----------
    merits
        The score that chooses by run, greater is better.
    failed
        Runs whose training failed; they are chosen only where all did.
    """
    sound = [run for run in merits if run not in failed] or list(merits)
    best = max(merits[run] for run in sound)
    equal = [run for run in sound if merits[run] >= best - EQUAL_SCORES * max(1.0, abs(best))]
    return simplest(sorted(equal), costs)


@dataclass(frozen=True)
class Recommendation:
    """What the rows that choose say.

    Attributes
    ----------
    run
        The cheapest of the chosen run and of those equivalent to it that can take its place.
    equivalent
        Runs equivalent to the chosen one; runs whose training failed are never among them.
    text
        The reasons.
    """

    run: str
    equivalent: list[str]
    text: str


def recommend(found: Comparison, costs: Mapping[str, Cost], failed: Collection[str], rows_text: str) -> Recommendation:
    """Return the recommended run.

    Parameters
    ----------
    found
        The runs compared with the chosen one on the rows that choose.
    rows_text
        What they were compared on, as ``394 val rows``.
    """
    equivalent = [run for run in found.related("equivalent") if run not in failed]
    run = cheapest([found.reference, *filter(found.is_safe, equivalent)], costs)
    return Recommendation(run, equivalent, _recommendation_text(found, run, equivalent, rows_text))


def _recommendation_text(found: Comparison, run: str, equivalent: Sequence[str], rows_text: str) -> str:
    chosen = found.reference
    if len(found.runs) == 1:
        return f"{chosen} is the only run: there is nothing to compare it with"
    if not found.has_enough_units:
        return f"{rows_text} are too few to compare runs (expected {FEWEST} or more); {chosen} has the best score"
    same = [one for one in found.runs if one not in equivalent and _is_undecided(found, one)]
    parts = [f"equivalent to {chosen} within {found.margin:.2g} on {rows_text}: {', '.join(equivalent) or 'no run'}"]
    if same:
        parts.append(f"not shown to differ from it, which is no evidence that they are as good: {', '.join(same)}")
    if not same and not equivalent and all(one.p_holm < SIGNIFICANT for one in list(found.runs.values())[1:]):
        parts.append("it is better than all others, beyond chance")
    why = "the run with the best score" if run == chosen else "the cheapest of the equivalent runs"
    bound = found.runs[run].loss_bound
    doubt = f", more than the margin: {rows_text} are too few to rule it out" if bound > found.margin else ""
    parts.append(f"recommended: {run}, {why}; another run may be better by up to {bound:.2g}{doubt}")
    return ". ".join(part[0].upper() + part[1:] if at else part for at, part in enumerate(parts))


def _is_undecided(found: Comparison, run: str) -> bool:
    """Return whether a run neither counts as equivalent nor is shown to differ."""
    return run != found.reference and not found.runs[run].p < SIGNIFICANT


def evidence_text(found: Comparison, selection: Comparison, recommended: str, rows_text: str) -> str:
    """Say what the test rows show against the choice that the selection rows led to.

    Parameters
    ----------
    found, selection
        The runs compared with the chosen one on the test rows, and on the rows that choose.
    """
    if len(found.runs) == 1:
        return ""
    if not found.has_enough_units:
        return f"{rows_text} are too few to say anything against the choice"
    chosen, n = found.reference, len(found.runs) - 1
    better = sorted(found.related("better"), key=lambda run: -abs(found.runs[run].difference))
    better += [run for run in found.related("equivalent") if _is_better(found, run)]
    parts = [
        f"on {rows_text} the chosen run {chosen} lost {abs(found.runs[run].difference):.4f} to {run}, which was "
        f"{_was(selection, run)} on the rows that choose ({p_text(found, run, n)})"
        for run in better
    ]
    if recommended != chosen and found.relation(recommended) == "worse":
        lost = abs(found.runs[recommended].difference)
        parts.append(
            f"on {rows_text} the recommended run {recommended} lost {lost:.4f} to the chosen run {chosen} "
            f"({p_text(found, recommended, n)})"
        )
    return "; ".join(parts) or f"no run is shown to be better than the chosen run {chosen} on {rows_text}"


def _is_better(found: Comparison, run: str) -> bool:
    one = found.runs[run]
    return one.p < SIGNIFICANT and (one.difference < 0) == is_better_less(found.score)


def _was(selection: Comparison, run: str) -> str:
    relation = selection.relation(run)
    return (
        "not compared" if relation == "too few rows" else f"{relation} to it" if relation == "equivalent" else relation
    )


def p_text(found: Comparison, run: str, n: int) -> str:
    """Return the p of one comparison, and where there are several the corrected one."""
    one = found.runs[run]
    corrected = f", {one.p_holm:.2g} after Holm's correction for {n} comparisons" if n > 1 else ""
    return f"p {one.p:.2g}{corrected}"
