"""Images on which the best ensemble and its best member differ: gained and lost predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from featx.metrics.definitions import find_score
from featx.reports.page.components import Component, Gallery, Picture
from featx.reports.study_report.facts import RunFacts, TargetFacts
from featx.reports.study_report.run_images import PictureBudget, image_item
from featx.study.ensemble_metrics import EnsembleMetrics

# Number of gained and of lost images that are shown.
MAX_SHOWN = 12
GAINED, LOST, BOTH_WRONG = "gained", "lost", "both wrong"


@dataclass(frozen=True, eq=False)
class DisagreementRows:
    """Rows on which the best ensemble and its best member decide differently.

    Attributes
    ----------
    ensemble, member
        The two runs.
    rows
        Row → ``gained`` if only the ensemble is right, ``lost`` if only the member is, or ``both wrong``.
    counts
        Number of all rows of each of these.
    """

    ensemble: RunFacts
    member: RunFacts
    rows: Mapping[int, str]
    counts: Mapping[str, int]


def find_disagreements(facts: TargetFacts, budget: PictureBudget) -> DisagreementRows | None:
    """Return some of the rows on which the best ensemble and its best member differ.

    Their images take part of the budget. The outputs of ensembles that are fitted to the selection rows are
    cross-fitted. The result is None for numbers, and without an ensemble whose best member is in the report.
    """
    if facts.evaluation.kind == "numbers":
        return None
    runs = {run.name: run for run in facts.runs}
    ensembles = [(run, metrics) for run in facts.runs if isinstance(metrics := run.folder.metrics, EnsembleMetrics)]
    ensembles = [pair for pair in ensembles if pair[1].best_member in runs]
    if not ensembles:
        return None
    ensemble, metrics = max(ensembles, key=lambda pair: find_score(pair[1].metric).sort_key(pair[1].score))
    member = runs[metrics.best_member]
    reasons = _reasons(ensemble, member)
    counts = {reason: list(reasons.values()).count(reason) for reason in (GAINED, LOST, BOTH_WRONG)}
    reasons_by_row: dict[int, str] = {}
    for reason in counts:
        rows = [row for row, row_reason in reasons.items() if row_reason == reason][:MAX_SHOWN]
        shown_ids = budget.reserve([str(ensemble.ids[row]) for row in rows], MAX_SHOWN)
        reasons_by_row |= {row: reason for row in rows if ensemble.ids[row] in shown_ids}
    return DisagreementRows(ensemble, member, reasons_by_row, counts)


def _reasons(ensemble: RunFacts, member: RunFacts) -> dict[int, str]:
    """Return each row on which the two differ, and which of them is right."""
    decisions = [run.targets.decisions(run.outputs) for run in (ensemble, member)]
    is_different = decisions[0] != decisions[1]
    gains = ensemble.targets.correctness(ensemble.outputs) - member.targets.correctness(member.outputs)
    rows = np.flatnonzero(is_different if is_different.ndim == 1 else is_different.any(1))
    return {int(row): GAINED if gains[row] > 0 else LOST if gains[row] < 0 else BOTH_WRONG for row in rows}


def disagreement_gallery(
    facts: TargetFacts, disagreements: DisagreementRows | None, pictures: Mapping[str, Picture]
) -> list[Component]:
    """Return the gallery of disagreements; nothing if the two never differ."""
    if disagreements is None or not disagreements.rows:
        return []
    items = []
    for row, reason in disagreements.rows.items():
        item = image_item(disagreements.ensemble, row, pictures, {"ensemble against member": reason})
        member = image_item(disagreements.member, row, pictures).lines[1]
        items.append(replace(item, lines=[*item.lines, f"{disagreements.member.label} {member}", reason]))
    counts = ", ".join(f"{n} {reason}" for reason, n in disagreements.counts.items())
    runs_text = f"{disagreements.ensemble.label} and its best member, {disagreements.member.label}"
    caption = (
        f"Images of different predictions: {runs_text}, differ on {sum(disagreements.counts.values()):,} of "
        f"{len(disagreements.ensemble.ids):,} images ({counts}); {len(items)} of them are shown."
    )
    return [Gallery(facts.component_name("disagreements"), caption, items)]
