"""One target's ensembles, from the runs of its members to run folders of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featx.artifacts import artifact
from featx.artifacts.header import BODY_FILES
from featx.ensembles.combiners import Combiner, EnsembleMethod
from featx.ensembles.cross_fitting import CrossFitting
from featx.ensembles.diversity import diversity
from featx.ensembles.explanation import count_disagreements, explain
from featx.ensembles.members import find_candidates, find_left_out, selection_tables, selection_warnings
from featx.errors import DataError
from featx.files.atomic import write_json, write_table
from featx.metrics.conformal import ConformalSpec
from featx.metrics.definitions import find_score
from featx.metrics.score_kinds import Outputs
from featx.metrics.scores import scores
from featx.parallel.threads import single_threaded
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import EnsembleSpec
from featx.specs.head import Metric
from featx.study.ensemble_metrics import Diversity, EnsembleMetrics
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import Scores
from featx.study.run_spec import RULES, EnsembleRunSpec
from featx.study.study import Study
from featx.tables.predictions import AnyPredictions, concatenate_predictions
from featx.tables.truth import AnyTruth


@dataclass(frozen=True)
class EnsembleRun:
    """One target of a study, and all that its ensembles are built from.

    Attributes
    ----------
    study
        The study of the target.
    target
        Name of the target.
    spec
        Settings of the ensemble methods, with the metric that chooses between settings.
    runs
        The m candidate members.
    left_out
        Name of a candidate that does not vote → why, as the end of a sentence.
    """

    study: Study
    target: str
    spec: EnsembleSpec
    runs: Sequence[RunFolder]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """Metric that chooses between settings, and that ensembles and candidates are compared by."""
        assert self.spec.metric is not None
        return self.spec.metric

    @property
    def notes(self) -> list[str]:
        """One line for each candidate that does not vote."""
        return [f"{run} {reason}" for run, reason in self.left_out.items()]

    @classmethod
    def of(cls, study: Study, target: str, spec: EnsembleSpec) -> "EnsembleRun":
        """Return the ensembles of a target, after a search for its candidate members.

        Raises
        ------
        DataError
            There are fewer than two candidates.
        """
        candidates = find_candidates(study, target, spec)
        exclusion_reasons = find_left_out(study, target, spec, candidates)
        runs = [run for run in candidates if run.name not in exclusion_reasons]
        if len(runs) < 2:
            names = ", ".join(run.name for run in runs) or "none"
            next_step = "name more in 'members'" if spec.members else "run 'featx fit --head …'"
            raise DataError(
                f"an ensemble needs two different finished runs or more, found {names} for target {target!r} (runs "
                f"with equal predictions count once); {next_step}"
            )
        return cls(study, target, spec.model_copy(update={"metric": study.metric(target)}), runs, exclusion_reasons)

    @cached_property
    def truth(self) -> AnyTruth:
        """True values of the train and val rows."""
        return self.study.labels(self.target)

    @cached_property
    def selection_tables(self) -> list[AnyPredictions]:
        """The members' predictions for the selection rows."""
        return selection_tables(self.runs)

    @cached_property
    def selection(self) -> CrossFitting:
        """The members' outputs and the true values for the selection rows."""
        groups = self.study.groups(self.selection_tables[0].ids)
        return CrossFitting.of(self.selection_tables, self.truth, self.spec, groups)

    @cached_property
    def signed_scores(self) -> list[float]:
        """Score of each candidate on the selection rows; greater is better."""
        members = self.selection.members
        return [self.selection.signed_score(outputs, members.rule(i)) for i, outputs in enumerate(members.outputs)]

    @cached_property
    def diversity(self) -> Diversity:
        """Diversity of the candidates."""
        return diversity([run.name for run in self.runs], self.selection.members, self.selection.targets)

    def _unsigned(self, signed_score: float) -> float:
        """Return a score as users read it: losses and errors are positive."""
        return float(find_score(self.metric).signed(signed_score))

    def run_spec(self, method: str) -> EnsembleRunSpec:
        """Return all that determines the run of a method; its fingerprint names the run folder."""
        return EnsembleRunSpec(
            rules=RULES["ensemble"],
            train=self.study.train_state(self.target),
            val=self.study.val_state(self.target),
            method=method,
            metric=self.metric,
            stacker=self.spec.stacker if method == "stacking" else None,
            folds=self.spec.folds,
            seed=self.spec.seed,
            members={run.name: run.body_sha256 for run in self.runs},
        )

    @single_threaded()
    def build(self, method: str, folder: Path) -> None:
        """Build an ensemble, predict all parts, and write the run into `folder`."""
        ensemble_method: EnsembleMethod = ENSEMBLE_METHODS.get(method)
        combiner = self.selection.fit(ensemble_method)
        outputs = self.selection.cross_predict(ensemble_method)
        rows = self.selection_tables[0].take(self.selection.ids)
        rule = combiner.decision_rule(self.selection.members)
        tables = [rows.with_outputs(self.truth.names, outputs, rule)]
        test_tables = [run.predictions.of("test") for run in self.runs]
        if len(test_tables[0].ids):
            tables.append(combiner.combine(test_tables, self.truth.names))
        predictions = concatenate_predictions(tables)
        write_table(folder / "predictions.parquet", predictions.to_frame())
        metrics = self._metrics(ensemble_method, outputs, str(rows.part[0]), scores(self.truth, tables[0]))
        metrics.write(folder)
        used_runs = [run for member, run in enumerate(self.runs) if member not in combiner.unused]
        write_json(folder / BODY_FILES["ensemble"], _body(method, used_runs, combiner.without_unused()))
        header = {
            "target": self.target,
            self.truth.kind: self.truth.names,
            "metrics": metrics.scores_by_part,
            "conformal": ConformalSpec.of(self.truth, predictions, self.study.groups),
            "decision": rule,
        }
        artifact.write_ensemble(folder, [run.path for run in used_runs], header)

    def _metrics(self, method: EnsembleMethod, outputs: Outputs, part: str, part_scores: Scores) -> EnsembleMetrics:
        """Return the metrics of an ensemble with these outputs and scores on the selection rows of a part."""
        names, targets, members = [run.name for run in self.runs], self.selection.targets, self.selection.members
        best = int(np.argmax(np.nan_to_num(self.signed_scores, nan=-np.inf)))
        rule = self.selection.decision_rule(method)
        disagreements = count_disagreements(
            names[best],
            (targets.decided_by(rule), outputs),
            (targets.decided_by(members.rule(best)), members.outputs[best]),
            self.selection.groups,
        )
        contributions = dict(zip(names, self.selection.contributions(method, outputs), strict=True))
        return EnsembleMetrics(
            finished=datetime.now(UTC).isoformat(),
            run_warnings=tuple(selection_warnings(self.selection, part)),
            oof=part_scores if part == "oof" else None,
            val=part_scores if part == "val" else None,
            metric=self.metric,
            score=self._unsigned(self.selection.signed_score(outputs, rule)),
            weighted=targets.weights is not None,
            best_member=names[best],
            best_member_score=self._unsigned(self.signed_scores[best]),
            median_member_score=self._unsigned(float(np.median(self.signed_scores))),
            diversity=self.diversity,
            disagreements=disagreements,
            contributions=contributions,
            explanation=explain(targets, part, disagreements, self.diversity, contributions),
        )


def _body(method: str, members: Sequence[RunFolder], combiner: Combiner) -> dict[str, Any]:
    digests = {run.name: run.body_sha256 for run in members}
    return {"method": method, "members": digests, **combiner.model_dump(mode="json")}
