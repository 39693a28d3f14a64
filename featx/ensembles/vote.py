"""Hold votes over a recipe's finished runs; each becomes a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold

from featx import artifact
from featx.conformal import ConformalSpec
from featx.disk import write_json, write_table
from featx.ensembles.voting import Vote
from featx.errors import DataError
from featx.metrics import score, scores
from featx.recipe import Recipe
from featx.registry import VOTES
from featx.specs import EnsembleSpec
from featx.tables import Predictions, Truth
from featx.workspace import RunFolder, Study


@dataclass(frozen=True)
class Voted:
    """One vote's run.

    Attributes
    ----------
    members, weights
        Names of the runs, and what each weighs; the weights sum to 1.
    scored_on
        ``val``, or ``oof`` where there is no val split.
    accuracy, median_member_accuracy
        On those rows; a vote that learns is cross-fitted there.
    """

    run: str
    method: str
    target: str
    path: str
    made: bool
    members: list[str]
    weights: list[float]
    scored_on: str
    accuracy: float
    median_member_accuracy: float


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
        Names of runs or how they begin; all that share target and split by default.
    target
        One of the recipe's targets; all by default.
    force
        Make runs again that are there.

    Raises
    ------
    IncompleteError
        there is no finished run.
    DataError
        there is only one.
    UnknownNameError
        no vote is called so.

    Notes
    -----
    Weights are val scores (without a val split those of the out-of-fold rows); on the rows that gave them a weighted
    vote is scored by cross-fitting: each fold is voted on with weights from the others.
    """
    methods = [methods] if isinstance(methods, str) else methods
    members = [members] if isinstance(members, str) else members
    for name in methods:
        VOTES.get(name)
    study = Study.open(recipe)
    said = {"methods": tuple(methods) or None, "members": tuple(members) or None}
    spec = study.recipe.ensemble.model_copy(update={k: v for k, v in said.items() if v is not None})
    made = []
    for name in study.of_kind(("classes",), target):
        runs = [run for run in study.runs(name, spec.members) if not run.is_ensemble]
        if len(runs) < 2:
            found = ", ".join(run.name for run in runs) or "none"
            raise DataError(
                f"a vote needs two finished runs or more, found {found} for target {name!r}; run 'featx fit --head …'"
            )
        made += [_vote(Ballot(study, name, method, spec, runs), force) for method in spec.methods]
    return made


@dataclass(frozen=True)
class Ballot:
    """Everything that one vote is made from."""

    study: Study
    target: str
    method: str
    spec: EnsembleSpec
    runs: Sequence[RunFolder]

    def asked(self) -> dict[str, Any]:
        """Return what makes this run what it is; its fingerprint names the folder."""
        return {
            "kind": "ensemble",
            "method": self.method,
            "metric": self.spec.metric,
            "folds": self.spec.folds,
            "seed": self.spec.seed,
            "target": self.target,
            "members": {run.name: run.body_sha256 for run in self.runs},
            "split": self.study.split_fingerprint(),
            "labels": self.study.labels_fingerprint(self.target),
            "val_labels": self.study.labels_fingerprint(self.target, "val"),
        }


def _vote(ballot: Ballot, force: bool) -> Voted:
    asked = ballot.asked()
    stem = f"{ballot.method}-{ballot.target}"
    return _as_voted(*ballot.study.run_once(stem, asked, force, lambda folder: _make(ballot, asked, folder)))


def _make(ballot: Ballot, asked: dict[str, Any], folder: Path) -> None:
    """Vote on all parts and write the run into `folder`."""
    vote: Vote = VOTES.get(ballot.method)
    truth = ballot.study.truth(ballot.target)
    choosers = [_chooser(run) for run in ballot.runs]
    weights = _weights(vote, choosers, truth, ballot.spec)
    tables = [cross_fitted(vote, choosers, truth, ballot.spec, ballot.study.groups(choosers[0].ids))]
    tests = [run.predictions.of("test") for run in ballot.runs]
    if len(tests[0].ids):
        tables.append(vote.combine(tests, weights))
    part = str(tables[0].part[0])
    metrics = {
        part: scores(truth, tables[0]),
        "median_member_accuracy": float(np.median([score("accuracy", truth, chooser) for chooser in choosers])),
        "finished": datetime.now(UTC).isoformat(),
    }
    write_json(folder / "metrics.json", metrics)
    answered = Predictions.concatenate(tables)
    write_table(folder / "predictions.parquet", answered.to_frame())
    body = {"method": ballot.method, "members": asked["members"], "weights": weights}
    write_json(folder / artifact.BODIES["ensemble"], body)
    members = [run.path for run in ballot.runs]
    header = {
        "target": ballot.target,
        "classes": truth.classes,
        "metrics": {part: metrics[part]},
        "conformal": ConformalSpec.of(truth, answered),
    }
    artifact.write_ensemble(folder, members, header)


def _chooser(run: RunFolder) -> Predictions:
    found = run.chooser()
    assert isinstance(found, Predictions)  # votes are held over classes
    return found


def _weights(vote: Vote, members: Sequence[Predictions], truth: Truth, spec: EnsembleSpec) -> list[float]:
    """Return one weight a member, sum 1: its score on its rows; equal ones where these do not count or are all 0."""
    raw = [score(spec.metric, truth, member) if vote.weighs else 1.0 for member in members]
    if not any(raw):
        raw = [1.0] * len(raw)
    return [weight / sum(raw) for weight in raw]


def cross_fitted(
    vote: Vote,
    members: Sequence[Predictions],
    truth: Truth,
    spec: EnsembleSpec,
    groups: NDArray[Any] | None = None,
) -> Predictions:
    """Vote on the rows that choose, each fold with weights learnt from the other folds.

    Raises
    ------
    DataError
        there are too few rows to learn weights from.
    """
    if not vote.weighs:
        return vote.combine(members, None)
    ids = members[0].ids
    n_units = len(ids) if groups is None else len(np.unique(groups))
    if n_units < spec.folds:
        what = "val rows" if groups is None else "groups of val rows"
        raise DataError(f"{n_units} {what} are too few to weigh members in {spec.folds} folds; give val more rows")
    kind = KFold if groups is None else GroupKFold
    folds = kind(spec.folds, shuffle=True, random_state=spec.seed).split(ids, groups=groups)
    parts = []
    for learn, held_out in folds:
        weights = _weights(vote, [member.take(ids[learn]) for member in members], truth, spec)
        parts.append(vote.combine([member.take(ids[held_out]) for member in members], weights))
    return Predictions.concatenate(parts).take(ids)


def _as_voted(run: RunFolder, made: bool) -> Voted:
    body = artifact.ensemble_body(run.path, artifact.read_header(run.path)[1])
    chooser = _chooser(run)
    part = str(chooser.part[0])
    return Voted(
        run=run.name,
        method=body["method"],
        target=run.spec["target"],
        path=str(run.path),
        made=made,
        members=list(body["members"]),
        weights=body["weights"],
        scored_on=part,
        accuracy=run.metrics[part]["accuracy"],
        median_member_accuracy=run.metrics["median_member_accuracy"],
    )
