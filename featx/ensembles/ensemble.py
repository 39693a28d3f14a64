"""Hold votes over a recipe's finished runs; each becomes a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featx.artifacts import artifact
from featx.artifacts.header import read_header
from featx.ensembles.combiners import VotingMethod
from featx.ensembles.ensemble_run import EnsembleRun
from featx.ensembles.members import candidates_for, equal_runs
from featx.errors import DataError, IncompleteError, UnsuitedError
from featx.metrics.definitions import LESS_IS_BETTER
from featx.registry import VOTES
from featx.specs.ensembling import DEFAULT_VOTES, EnsembleSpec
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.study import Study


@dataclass(frozen=True)
class EnsembleResult:
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
    metric, weighted, score
        On those rows, by their weights where they have some; a vote that learns is cross-fitted there.
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
    weighted: bool
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
) -> list[EnsembleResult]:
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
    elections = [EnsembleRun.of(study, name, spec) for name in names]
    return [voted for one in elections for voted in _hold(one, chosen[one.target], force)]


def _several(names: Sequence[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _with_runs(study: Study, target: str | None, spec: EnsembleSpec) -> list[str]:
    """Return the targets to vote on: of several, those that have two members or more."""
    names = study.target_names(target)
    return [name for name in names if _has_members(study, name, spec)] or names[:1]


def is_possible(recipe: Recipe) -> bool:
    """Return whether a target of the recipe has two different finished runs."""
    study = Study(recipe)
    return any(_has_members(study, name, recipe.ensemble) for name in recipe.targets)


def _has_members(study: Study, target: str, spec: EnsembleSpec) -> bool:
    try:
        candidates = candidates_for(study, target, spec)
        return len(candidates) - len(equal_runs(candidates)) > 1
    except (DataError, IncompleteError):
        return False


def _methods(spec: EnsembleSpec, kind: str) -> list[str]:
    return [name for name in spec.methods or DEFAULT_VOTES if kind in VOTES.get(name).kinds]


def _check_suited(method: str, study: Study, targets: Sequence[str]) -> None:
    vote: VotingMethod = VOTES.get(method)
    kinds = {name: study.recipe.targets[name].kind for name in targets}
    if not set(kinds.values()) & set(vote.kinds):
        name, kind = next(iter(kinds.items()))
        able = ", ".join(other for other in VOTES.names() if kind in VOTES.get(other).kinds)
        raise UnsuitedError(
            f"vote {method!r} answers {' or '.join(vote.kinds)}, target {name!r} is of {kind}; those that can: {able}"
        )


def _hold(election: EnsembleRun, methods: Sequence[str], force: bool) -> list[EnsembleResult]:
    """VotingMethod by each method; the best stands first."""
    made = [_vote(election, method, force) for method in methods]
    return sorted(made, key=lambda voted: -voted.gain)


def _vote(election: EnsembleRun, method: str, force: bool) -> EnsembleResult:
    asked = election.asked(method)
    stem = f"{method}-{election.target}"
    run, made = election.study.run_once(stem, asked, force, lambda folder: election.make(method, folder))
    return _as_voted(run, made, election.notes)


def _as_voted(run: RunFolder, made: bool, notes: Sequence[str]) -> EnsembleResult:
    body = artifact.ensemble_body(run.path, read_header(run.path)[1])
    chooser, metrics = run.chooser(), run.metrics
    return EnsembleResult(
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
        weighted=metrics.get("weighted", False),
        score=metrics["score"],
        best_member=metrics["best_member"],
        best_member_score=metrics["best_member_score"],
        median_member_score=metrics["median_member_score"],
        why=metrics["why"],
        findings=[*(one["text"] for one in metrics["findings"]), *notes],
    )
