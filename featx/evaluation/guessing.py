"""Comparison of the chosen run with guessing: a prediction that does not depend on the image."""

from featx.evaluation.evaluation_table import Evaluation

# Scores that are 0 for constant or random predictions, whatever the shares of the classes or the spread of the numbers.
CHANCE_CORRECTED = {"classes": "kappa", "numbers": "r2"}


def describe_guessing(evaluation: Evaluation) -> str:
    """Return a warning if the chosen run is not shown to be better than guessing; empty if it is.

    Cohen's kappa is 0 for predictions that have nothing to do with the classes, and R² for a constant number. Sets of
    labels have no such score, and too few rows no interval.
    """
    name = CHANCE_CORRECTED.get(evaluation.kind, "")
    row = next(row for row in evaluation.rows if row.run == evaluation.chosen)
    low, high = row.intervals.get(name, (None, None))
    if low is None or high is None or low > 0:
        return ""
    run, value = evaluation.label(row.run), f"{name} {row.scores[name]:.3f} (95 %: {low:.3f} to {high:.3f})"
    return (
        f"the chosen run of {evaluation.target!r}, {run}, is not shown to be better than guessing: {value} on "
        f"{evaluation.part}, where a prediction that does not depend on the image has 0"
    )
