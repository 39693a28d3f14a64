"""One vote from its members' runs to its own: what is learnt, what is said of it, and what is written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featx.artifacts import artifact
from featx.artifacts.header import BODIES
from featx.ensembles.combiners import Combiner, Outputs, VotingMethod, like
from featx.ensembles.cross_fitting import CrossFitting
from featx.ensembles.diversity import diversity
from featx.ensembles.explanation import Disagreements, paragraph
from featx.ensembles.members import candidates_for, equal_runs, findings, rows_that_choose
from featx.errors import DataError
from featx.files.atomic import write_json, write_table
from featx.files.seals import write_sealed
from featx.metrics.conformal import ConformalSpec
from featx.metrics.definitions import LESS_IS_BETTER
from featx.metrics.scores import scores
from featx.parallel.threads import single_threaded
from featx.registry import VOTES
from featx.specs.ensembling import EnsembleSpec
from featx.study.run_folder import RULES, RunFolder
from featx.study.study import Study
from featx.tables.predictions import Answered, concatenated
from featx.tables.truth import Known


@dataclass(frozen=True)
class EnsembleRun:
    """One target, and all that its votes are made from.

    Attributes
    ----------
    spec
        Its metric is the one that chooses.
    runs
        The candidates, m of them.
    equal
        Name of a run that is left out → name of the candidate that gives the same answers.
    """

    study: Study
    target: str
    spec: EnsembleSpec
    runs: Sequence[RunFolder]
    equal: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """A line for each run that is left out because it equals a candidate."""
        return [f"{run} gives the same answers as {other}: they count once" for run, other in self.equal.items()]

    @classmethod
    def of(cls, study: Study, target: str, spec: EnsembleSpec) -> "EnsembleRun":
        """Find the members.

        Raises
        ------
        DataError
            there are fewer than two.
        """
        candidates = candidates_for(study, target, spec)
        equal = equal_runs(candidates)
        runs = [run for run in candidates if run.name not in equal]
        if len(runs) < 2:
            names = ", ".join(run.name for run in runs) or "none"
            remedy = "name more with '--members'" if spec.members else "run 'featx fit --head …'"
            raise DataError(
                f"an ensemble needs two different finished runs or more, found {names} for target {target!r} (runs "
                f"that give equal answers count once); {remedy}"
            )
        return cls(study, target, spec.model_copy(update={"metric": study.metric(target)}), runs, equal)

    @cached_property
    def known(self) -> Known:
        """The labels of train and val."""
        return self.study.labels(self.target)

    @cached_property
    def choosers(self) -> list[Answered]:
        """What each member says of the rows that choose."""
        return rows_that_choose(self.runs)

    @cached_property
    def evidence(self) -> CrossFitting:
        """The same, with what is known of these rows."""
        groups = self.study.groups(self.choosers[0].ids)
        return CrossFitting.of(self.choosers, self.known, self.spec, groups)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What is to be said of the members, whatever the method."""
        evidence = self.evidence
        ballots = evidence.ballots
        merits = [evidence.merit(said, ballots.rule(member)) for member, said in enumerate(ballots.outputs)]
        best = int(np.argmax(np.nan_to_num(merits, nan=-np.inf)))
        return {
            "metric": evidence.spec.metric,
            "best_member": self.runs[best].name,
            "best_member_score": self._as_read(merits[best]),
            "median_member_score": self._as_read(float(np.median(merits))),
            "diversity": diversity([run.name for run in self.runs], evidence.ballots, evidence.facts),
            "findings": [asdict(one) for one in findings(evidence, str(self.choosers[0].part[0]))],
        }

    def _as_read(self, merit: float) -> float:
        """Return a score as people write it: losses and errors without the minus."""
        return -merit if self.spec.metric in LESS_IS_BETTER else merit

    def asked(self, method: str) -> dict[str, Any]:
        """Return what makes a vote's run what it is; its fingerprint names the folder."""
        own: dict[str, Any] = {"stacker": self.spec.stacker} if method == "stacking" else {}
        own |= self.study.training_state(self.target) | self.study.choosing_state(self.target)
        return own | {
            "kind": "ensemble",
            "rules": RULES["ensemble"],
            "method": method,
            "metric": self.spec.metric,
            "folds": self.spec.folds,
            "seed": self.spec.seed,
            "members": {run.name: run.body_sha256 for run in self.runs},
        }

    @single_threaded()
    def make(self, method: str, folder: Path) -> None:
        """VotingMethod on all parts and write the run into `folder`."""
        vote: VotingMethod = VOTES.get(method)
        combiner = self.evidence.learnt(vote)
        voted = self.evidence.cross_fitted(vote)
        rows = self.choosers[0].take(self.evidence.ids)
        rule = combiner.decision(self.evidence.ballots)
        tables = [like(rows, self.known.names, voted, rule)]
        tests = [run.answers.of("test") for run in self.runs]
        if len(tests[0].ids):
            tables.append(combiner.combine(tests, self.known.names))
        answered = concatenated(tables)
        write_table(folder / "predictions.parquet", answered.to_frame())
        part = str(rows.part[0])
        metrics = {part: scores(self.known, tables[0]), **self._explained(vote, voted, part)}
        write_sealed(folder / "metrics.json", metrics)
        kept = [run for at, run in enumerate(self.runs) if at not in combiner.idle]
        write_json(folder / BODIES["ensemble"], _body(method, kept, combiner.without_idle()))
        header = {
            "target": self.target,
            self.known.kind: self.known.names,
            "metrics": {part: metrics[part]},
            "conformal": ConformalSpec.of(self.known, answered, self.study.groups),
            "decision": rule,
        }
        artifact.write_ensemble(folder, [run.path for run in kept], header)

    def _explained(self, vote: VotingMethod, voted: Outputs, part: str) -> dict[str, Any]:
        """Return what stands in ``metrics.json`` beside the scores."""
        names = [run.name for run in self.runs]
        best, ballots = names.index(self.shared["best_member"]), self.evidence.ballots
        facts, rule = self.evidence.facts, self.evidence.decision(vote)
        both = (facts.decided_by(rule), voted), (facts.decided_by(ballots.rule(best)), ballots.outputs[best])
        overruling = Disagreements.of(self.shared["best_member"], *both)
        adds = dict(zip(names, self.evidence.contributions(vote, voted), strict=True))
        found = self.shared["diversity"]
        return self.shared | {
            "weighted": facts.weights is not None,
            "score": self._as_read(self.evidence.merit(voted, rule)),
            "diversity": asdict(found),
            "overruling": asdict(overruling),
            "contributions": adds,
            "why": paragraph(facts, part, overruling, found, adds),
            "finished": datetime.now(UTC).isoformat(),
        }


def _body(method: str, members: Sequence[RunFolder], combiner: Combiner) -> dict[str, Any]:
    named = {run.name: run.body_sha256 for run in members}
    return {"method": method, "members": named, **combiner.model_dump(mode="json")}
