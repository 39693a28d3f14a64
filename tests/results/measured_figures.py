"""Figures of the protocols, read from the folders of finished runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from featx.artifacts.header import read_header
from featx.errors import IncompleteError
from featx.evaluation.final_scores import read_last_final
from featx.evaluation.split_summary import CHOSEN, RunOverSplits, summarize_splits
from featx.files.seals import read_sealed
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from featx.workflow.outer_splits import SPLIT_SCORES, SplitRecord
from tests.results.neighbour_bound import NeighbourBound, read_bound
from tests.results.protocols import ROOT, Protocol


@dataclass(frozen=True)
class MeasuredFigure:
    """One score of one run.

    Attributes
    ----------
    run
        Label of the run, or ``chosen`` for the run that was chosen on the selection rows.
    score
        Name of the score.
    value
        Mean over the splits, or the score on the only test part.
    sd
        Standard deviation over the splits; nan for a single split.
    low, high
        95 % interval.
    """

    run: str
    score: str
    value: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class MeasuredProtocol:
    """All figures of a protocol.

    Attributes
    ----------
    figures
        The figures, those of the chosen run first.
    n_splits, n_planned
        Number of finished splits, and of all splits.
    n_train, n_test
        Mean number of training and test rows.
    fit_s
        Seconds of all heads and ensembles.
    commits, machines
        Commits and machines that made the runs.
    bound
        How often nearest neighbours have different classes; None if that is not shown.
    """

    figures: list[MeasuredFigure]
    n_splits: int
    n_planned: int
    n_train: float
    n_test: float
    fit_s: float
    commits: list[str]
    machines: list[str]
    bound: NeighbourBound | None = None


def read_protocol(protocol: Protocol) -> MeasuredProtocol | None:
    """Return the figures of a protocol from its folder of runs; None if nothing of it has finished."""
    recipe = load_recipe(str(ROOT / protocol.recipe))
    if recipe.split.outer_seeds:
        return _read_splits(protocol, [Study(split_recipe) for split_recipe in recipe.outer_recipes])
    return _read_single(protocol, Study.open(recipe))


def _read_splits(protocol: Protocol, studies: Sequence[Study]) -> MeasuredProtocol | None:
    records = [record for study in studies if (record := _read_record(study)) is not None]
    # A standard deviation needs two splits.
    if len(records) < 2:
        return None
    summary = summarize_splits([record.targets[0] for record in records])
    commits = [record.commit or "unknown" for record in records]
    machines = [record.machine for record in records]
    return MeasuredProtocol(
        [
            *_split_figures(summary.rows, protocol.scores),
            *(_compared_figures(protocol, studies) if protocol.same_tests_as else []),
        ],
        len(records),
        len(studies),
        summary.n_train,
        summary.n_scored,
        summary.fit_s,
        list(dict.fromkeys(commits)),
        list(dict.fromkeys(machines)),
        read_bound(protocol) if protocol.has_neighbours else None,
    )


def _split_figures(rows: Sequence[RunOverSplits], scores: Sequence[str]) -> list[MeasuredFigure]:
    return [
        MeasuredFigure(row.run, score, row.means[score], row.sds[score], *row.intervals[score])
        for row in rows
        for score in scores
        if score in row.means
    ]


def _compared_figures(protocol: Protocol, studies: Sequence[Study]) -> list[MeasuredFigure]:
    """Return the figures of the chosen runs of another protocol on the same test parts; none if it has not run.

    Raises
    ------
    ValueError
        The test parts differ.
    """
    recipe = load_recipe(str(ROOT / protocol.compared_recipe))
    compared = [Study(split_recipe) for split_recipe in recipe.outer_recipes[: len(studies)]]
    records = [record for study in compared if (record := _read_record(study)) is not None]
    if len(records) < len(studies):
        return []
    if any(set(own.ids("test")) != set(other.ids("test")) for own, other in zip(studies, compared, strict=True)):
        raise ValueError(f"{protocol.recipe} and {protocol.compared_recipe} have different test parts")
    summary = summarize_splits([record.targets[0] for record in records])
    chosen = [replace(row, run=protocol.same_tests_as) for row in summary.rows if row.run == CHOSEN]
    return _split_figures(chosen, protocol.scores)


def _read_record(study: Study) -> SplitRecord | None:
    try:
        record: SplitRecord = read_sealed(study.folder / SPLIT_SCORES, "", SplitRecord)
    except IncompleteError:
        return None
    return record if all(scores.part == "test" for scores in record.targets) else None


def _read_single(protocol: Protocol, study: Study) -> MeasuredProtocol | None:
    (target,) = study.recipe.targets
    try:
        evaluation = read_last_final(study, target)
        runs = {run.name: run for run in study.runs(target)}
    except IncompleteError:
        return None
    if evaluation is None:
        return None
    rows = sorted(evaluation.rows, key=lambda row: row.run != evaluation.chosen)
    figures = [
        MeasuredFigure(
            CHOSEN if row.run == evaluation.chosen else row.label,
            score,
            row.scores[score],
            math.nan,
            *row.intervals.get(score, (math.nan, math.nan)),
        )
        for row in rows
        for score in protocol.scores
        if score in row.scores
    ]
    headers = [read_header(runs[row.run].path)[1] for row in rows if row.run in runs]
    seconds = sum(run.metrics.elapsed_s or 0.0 for run in runs.values())
    n_test = evaluation.n_test
    commits = list(dict.fromkeys(header.commit or "unknown" for header in headers))
    return MeasuredProtocol(figures, 1, 1, len(study.ids("train")), n_test, seconds, commits, [])
