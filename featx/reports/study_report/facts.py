"""Facts of one target that the sections of a report are built from: scores, runs, true values and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
from featx.evaluation.final_scores import read_last_final
from featx.metrics.score_kinds import Outputs
from featx.metrics.scores import align
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.target_values import TargetValues


@dataclass(frozen=True, eq=False)
class RunFacts:
    """One run: its scores, its folder, and its outputs for the selection rows.

    Attributes
    ----------
    evaluation
        Scores of the run on the selection rows.
    folder
        Folder of the run.
    ids
        (n,) ids of the selection rows, equal for all runs of a target.
    targets
        True values of these rows, with the decision rule of the run.
    outputs
        (n, k) probabilities of classes or labels, or numbers.
    is_chosen
        Whether the run is the chosen one of its target.
    """

    evaluation: RunEvaluation
    folder: RunFolder
    ids: NDArray[np.object_]
    targets: TargetValues
    outputs: Outputs
    is_chosen: bool

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.evaluation.run

    @property
    def label(self) -> str:
        """Label that is unique among the runs of the target."""
        return self.evaluation.label


@dataclass(frozen=True, eq=False)
class TargetFacts:
    """All that the report shows about one target.

    Attributes
    ----------
    study
        The study.
    evaluation
        Scores on the selection rows.
    final
        Scores of the last opening of the test split; None if there are none.
    runs
        Runs in the order of the evaluation, best first.
    openings
        Log of the openings of the test split.
    """

    study: Study
    evaluation: Evaluation
    final: Evaluation | None
    runs: Sequence[RunFacts]
    openings: list[dict[str, Any]]

    @classmethod
    def collect(cls, study: Study, evaluation: Evaluation) -> "TargetFacts":
        """Read the runs of an evaluation, and align their outputs with the true values of the selection rows."""
        truth, target = study.labels(evaluation.target), evaluation.target
        folders = {run.name: run for run in study.runs(target)}
        ids = folders[evaluation.chosen].selection_predictions().ids
        runs = []
        for row in evaluation.rows:
            targets, outputs = align(truth, folders[row.run].selection_predictions().take(ids))
            runs.append(RunFacts(row, folders[row.run], ids, targets, outputs, row.run == evaluation.chosen))
        return cls(study, evaluation, read_last_final(study, target), runs, study.openings(target))

    @property
    def target(self) -> str:
        """Name of the target."""
        return self.evaluation.target

    @property
    def chosen(self) -> RunFacts:
        """The chosen run."""
        return next(run for run in self.runs if run.is_chosen)

    @property
    def noun(self) -> str:
        """Noun for one of the names of the target: class, label or number."""
        return self.chosen.targets.noun

    @property
    def units(self) -> NDArray[Any] | None:
        """(n,) groups of the selection rows that the split keeps whole; None if each row is a unit."""
        return self.study.groups(self.chosen.ids)

    def component_name(self, *parts: str) -> str:
        """Return a name that is unique on the page: of the target, and of the component within it."""
        return "-".join((self.target, *parts))


def plural(n: int, noun: str) -> str:
    """Return a number with a noun.

    Examples
    --------
    >>> plural(1, "run"), plural(0, "run"), plural(2, "class")
    ('1 run', '0 runs', '2 classes')
    """
    ending = "" if n == 1 else "es" if noun.endswith("s") else "s"
    return f"{n:,} {noun}{ending}"


def score_name(name: str) -> str:
    """Return the name of a score in words."""
    return name.replace("_", " ")


def interval_text(edges: Sequence[float], number_format: str = ".4f") -> str:
    """Return the edges of an interval as text."""
    low, high = (format(float(edge), number_format) if np.isfinite(edge) else "–" for edge in edges)
    return f"{low} … {high}"
