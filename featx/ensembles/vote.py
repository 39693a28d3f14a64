"""Hold votes over a recipe's finished runs; each becomes a run folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featx import artifact
from featx.conformal import ConformalSpec
from featx.disk import write_json, write_table
from featx.ensembles.ballots import Combiner, Outputs, Vote, like
from featx.ensembles.diversity import diversity
from featx.ensembles.evidence import Evidence
from featx.ensembles.members import findings, members_of, rows_that_choose
from featx.ensembles.why import Overruling, paragraph
from featx.errors import DataError, UnsuitedError
from featx.metrics import LESS_IS_BETTER, scores
from featx.recipe import Recipe
from featx.registry import VOTES
from featx.specs import DEFAULT_VOTES, EnsembleSpec
from featx.tables import Answered, Known, concatenated
from featx.workspace import RunFolder, Study

RULES = 2  # changes whenever the same members and rows would give another run


@dataclass(frozen=True)
class Voted:
    """One vote's run.

    Attributes
    ----------
    members
        Names of the runs that it listens to; others were there and count nothing.
    n_candidates
        How many there were.
    weights
        What each member weighs, of sum 1; empty where that is not the same for all rows.
    scored_on, n
        ``val``, or ``oof`` where there is no val split, and how many rows.
    metric, score
        On those rows; a vote that learns is cross-fitted there.
    best_member, best_member_score, median_member_score
        The candidate that scores best there, and the candidates' median score.
    why
        What the vote does against its best member, and what there is to gain, in words.
    findings
        What should be looked at.
    """

    run: str
    method: str
    target: str
    path: str
    made: bool
    members: list[str]
    n_candidates: int
    weights: list[float]
    scored_on: str
    n: int
    metric: str
    score: float
    best_member: str
    best_member_score: float
    median_member_score: float
    why: str
    findings: list[str]

    @property
    def gain(self) -> float:
        """How much better it is than its best member."""
        ahead = self.score - self.best_member_score
        return -ahead if self.metric in LESS_IS_BETTER else ahead


def ensemble(
    recipe: str | Path | Recipe | None = None,
    *,
    methods: Sequence[str] | str = (),
    members: Sequence[str] | str = (),
    target: str | None = None,
    force: bool = False,
) -> list[Voted]:
    """Vote over finished heads and networks.

    Parameters
    ----------
    methods
        Names of votes; the recipe's by default.
    members
        Names of runs or how they begin, ensembles among them; by default all heads and networks that share target and
        split.
    target
        One of the recipe's targets; by default all that have runs.
    force
        Make runs again that are there.

    Returns
    -------
    list
        Target by target, the best first.

    Raises
    ------
    IncompleteError
        there is no finished run.
    DataError
        there is only one, or they do not answer the same rows.
    UnknownNameError
        no vote is called so.
    UnsuitedError
        a vote can answer none of the targets.

    Notes
    -----
    What a vote learns it learns from val (without a val split from the out-of-fold rows). There it is scored by
    cross-fitting: each fold is voted on with what the others teach.
    """
    study = Study.open(recipe)
    said = {"methods": _several(methods) or None, "members": _several(members) or None}
    spec = study.recipe.ensemble.model_copy(update={k: v for k, v in said.items() if v is not None})
    names = _with_runs(study, target, spec)
    chosen = {name: _methods(spec, study.recipe.targets[name].kind) for name in names}
    for method in spec.methods or ():
        _check_suited(method, study, names)
    elections = [Election.of(study, name, spec) for name in names]
    return [voted for one in elections for voted in one.hold(chosen[one.target], force)]


def _several(names: Sequence[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _with_runs(study: Study, target: str | None, spec: EnsembleSpec) -> list[str]:
    """Return the targets to vote on: of several, those that have two runs or more."""
    names = study.target_names(target)
    if len(names) == 1:
        return names
    return [name for name in names if study.has_runs(name) and len(members_of(study, name, spec)) > 1] or names


def _methods(spec: EnsembleSpec, kind: str) -> list[str]:
    return [name for name in spec.methods or DEFAULT_VOTES if kind in VOTES.get(name).kinds]


def _check_suited(method: str, study: Study, targets: Sequence[str]) -> None:
    vote: Vote = VOTES.get(method)
    kinds = {name: study.recipe.targets[name].kind for name in targets}
    if not set(kinds.values()) & set(vote.kinds):
        name, kind = next(iter(kinds.items()))
        able = ", ".join(other for other in VOTES.names() if kind in VOTES.get(other).kinds)
        raise UnsuitedError(
            f"vote {method!r} answers {' or '.join(vote.kinds)}, target {name!r} is of {kind}; those that can: {able}"
        )


@dataclass(frozen=True)
class Election:
    """One target, and all that its votes are made from.

    Attributes
    ----------
    spec
        Its metric is the one that chooses.
    runs
        The candidates, m of them.
    """

    study: Study
    target: str
    spec: EnsembleSpec
    runs: Sequence[RunFolder]

    @classmethod
    def of(cls, study: Study, target: str, spec: EnsembleSpec) -> "Election":
        """Find the members.

        Raises
        ------
        DataError
            there are fewer than two.
        """
        runs = members_of(study, target, spec)
        if len(runs) < 2:
            found = ", ".join(run.name for run in runs) or "none"
            raise DataError(
                f"a vote needs two finished runs or more, found {found} for target {target!r}; run 'featx fit --head …'"
            )
        return cls(study, target, spec.model_copy(update={"metric": study.metric(target)}), runs)

    @cached_property
    def known(self) -> Known:
        """The labels of train and val."""
        return self.study.labels(self.target)

    @cached_property
    def choosers(self) -> list[Answered]:
        """What each member says of the rows that choose."""
        return rows_that_choose(self.runs)

    @cached_property
    def evidence(self) -> Evidence:
        """The same, with what is known of these rows."""
        groups = self.study.groups(self.choosers[0].ids)
        return Evidence.of(self.choosers, self.known, self.spec, groups)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What is to be said of the members, whatever the method."""
        evidence = self.evidence
        merits = [evidence.merit(said) for said in evidence.ballots.outputs]
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
        stacker = {"stacker": self.spec.stacker} if method == "stacking" else {}
        return stacker | {
            "kind": "ensemble",
            "rules": RULES,
            "method": method,
            "metric": self.spec.metric,
            "folds": self.spec.folds,
            "seed": self.spec.seed,
            "target": self.target,
            "members": {run.name: run.body_sha256 for run in self.runs},
            "split": self.study.split_fingerprint(),
            "labels": self.study.labels_fingerprint(self.target),
            "val_labels": self.study.labels_fingerprint(self.target, "val"),
        }

    def hold(self, methods: Sequence[str], force: bool) -> list[Voted]:
        """Vote by each method; the best stands first."""
        made = [self._run(method, force) for method in methods]
        return sorted(made, key=lambda voted: -voted.gain)

    def _run(self, method: str, force: bool) -> Voted:
        asked = self.asked(method)
        stem = f"{method}-{self.target}"
        run, made = self.study.run_once(stem, asked, force, lambda folder: self._make(method, folder))
        return _as_voted(run, made)

    def _make(self, method: str, folder: Path) -> None:
        """Vote on all parts and write the run into `folder`."""
        vote: Vote = VOTES.get(method)
        combiner = self.evidence.learnt(vote)
        voted = self.evidence.cross_fitted(vote)
        rows = self.choosers[0].take(self.evidence.ids)
        tables = [like(rows, self.known.names, voted)]
        if len((tests := [run.answers.of("test") for run in self.runs])[0].ids):
            tables.append(combiner.combine(tests, self.known.names))
        answered = concatenated(tables)
        write_table(folder / "predictions.parquet", answered.to_frame())
        part = str(rows.part[0])
        metrics = {part: scores(self.known, tables[0]), **self._explained(vote, voted, part)}
        write_json(folder / "metrics.json", metrics)
        kept = [run for at, run in enumerate(self.runs) if at not in combiner.idle]
        write_json(folder / artifact.BODIES["ensemble"], _body(method, kept, combiner.without_idle()))
        header = {
            "target": self.target,
            self.known.kind: self.known.names,
            "metrics": {part: metrics[part]},
            "conformal": ConformalSpec.of(self.known, answered),
        }
        artifact.write_ensemble(folder, [run.path for run in kept], header)

    def _explained(self, vote: Vote, voted: Outputs, part: str) -> dict[str, Any]:
        """Return what stands in ``metrics.json`` beside the scores."""
        names = [run.name for run in self.runs]
        best = self.evidence.ballots.outputs[names.index(self.shared["best_member"])]
        overruling = Overruling.of(self.shared["best_member"], voted, best, self.evidence.facts)
        adds = dict(zip(names, self.evidence.contributions(vote), strict=True))
        found = self.shared["diversity"]
        return self.shared | {
            "score": self._as_read(self.evidence.merit(voted)),
            "diversity": asdict(found),
            "overruling": asdict(overruling),
            "contributions": adds,
            "why": paragraph(self.evidence.facts, part, overruling, found, adds),
            "finished": datetime.now(UTC).isoformat(),
        }


def _body(method: str, members: Sequence[RunFolder], combiner: Combiner) -> dict[str, Any]:
    named = {run.name: run.body_sha256 for run in members}
    return {"method": method, "members": named, **combiner.model_dump(mode="json")}


def _as_voted(run: RunFolder, made: bool) -> Voted:
    body = artifact.ensemble_body(run.path, artifact.read_header(run.path)[1])
    chooser, metrics = run.chooser(), run.metrics
    return Voted(
        run=run.name,
        method=body["method"],
        target=run.spec["target"],
        path=str(run.path),
        made=made,
        members=list(body["members"]),
        n_candidates=len(run.spec["members"]),
        weights=body.get("weights", []),
        scored_on=str(chooser.part[0]),
        n=len(chooser.ids),
        metric=metrics["metric"],
        score=metrics["score"],
        best_member=metrics["best_member"],
        best_member_score=metrics["best_member_score"],
        median_member_score=metrics["median_member_score"],
        why=metrics["why"],
        findings=[one["text"] for one in metrics["findings"]],
    )
