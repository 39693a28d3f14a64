"""The rows that choose, as votes learn from them and are scored on them: never on a row that taught them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.ensembles.combiners import Combiner, MemberOutputs, Outputs, VotingMethod, like
from featx.errors import DataError
from featx.metrics.scores import chosen_metric, merit
from featx.parallel.threads import single_threaded
from featx.specs.ensembling import EnsembleSpec
from featx.tables.decision_rule import DecisionRule
from featx.tables.encoding import strata_codes
from featx.tables.predictions import Answered
from featx.tables.resampling_units import are_mostly_single, folds_of_units
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known


@dataclass(frozen=True)
class CrossFitting:
    """What m members say of the rows that choose, and what is known of these.

    Attributes
    ----------
    ids
        (n,) sorted, so that nothing depends on the order in which a table has its rows.
    ballots, facts
        Of these rows, columns in the order of the known names.
    spec
        How votes learn; its metric is the one that chooses.
    groups
        (n,) what stays whole in folds, or None.
    """

    ids: NDArray[np.object_]
    ballots: MemberOutputs
    facts: TargetValues
    spec: EnsembleSpec
    groups: NDArray[Any] | None

    @classmethod
    def of(
        cls, members: Sequence[Answered], known: Known, spec: EnsembleSpec, groups: NDArray[Any] | None = None
    ) -> Self:
        """Put the first member's rows in order, and the others' beside them.

        Parameters
        ----------
        groups
            (n,) of the first member's rows.

        Raises
        ------
        AlignmentError
            an id of the first member is missing from another, or they answer other things.
        DataError
            no row counts.
        """
        first = members[0]
        order = np.argsort(first.ids.astype(str))
        ids = first.ids[order]
        facts = TargetValues.of(known.take(ids))
        if facts.weights is not None and not facts.weights.any():
            raise DataError(f"all {len(ids)} rows that choose weigh 0; check 'weight' and 'confidence' of the target")
        ballots = MemberOutputs.of([first.take(ids), *members[1:]], known.names)
        own = spec.model_copy(update={"metric": chosen_metric(facts, spec.metric)})
        return cls(ids, ballots, facts, own, None if groups is None else groups[order])

    @single_threaded()
    def learnt(self, vote: VotingMethod) -> Combiner:
        """Return what a vote makes of all rows."""
        return vote.learn(self.ballots, self.facts, self.spec)

    @single_threaded()
    def cross_fitted(self, vote: VotingMethod) -> Outputs:
        """Return (n, k) answers, those to each fold learnt from the other folds.

        Raises
        ------
        DataError
            there are too few rows to learn from.
        """
        if not vote.learns:
            return self.learnt(vote).outputs(self.ballots)
        fold = self._folds()
        answers: Outputs = np.empty_like(self.ballots.outputs[0])
        for number in range(self.spec.folds):
            learn, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            combiner = vote.learn(self.ballots.rows(learn), self.facts.take(learn), self.spec)
            answers[held] = combiner.outputs(self.ballots.rows(held))
        return answers

    def _folds(self) -> NDArray[np.int64]:
        """Return (n,) folds: each has its share of all classes, or whole groups."""
        n_units = len(self.ids) if self.groups is None else len(np.unique(self.groups))
        if n_units < self.spec.folds:
            what = "val rows" if self.groups is None else "groups or sets of copies among val rows"
            raise DataError(
                f"{n_units} {what} are too few to weigh members in {self.spec.folds} folds; give val more rows"
            )
        strata = strata_codes(self.facts)
        if self.groups is not None and not are_mostly_single(self.groups):
            strata = np.zeros_like(strata)
        return folds_of_units(strata, self.groups, self.spec.folds, self.spec.seed)

    def decision(self, vote: VotingMethod) -> DecisionRule | None:
        """Return the rule by which a vote that learnt from all rows decides for a class."""
        return self.learnt(vote).decision(self.ballots)

    def merit(self, outputs: Outputs, decision: DecisionRule | None = None) -> float:
        """Return the score that chooses, greater is better, of a model that decides by a rule."""
        assert self.spec.metric is not None  # as `of` says
        return merit(self.spec.metric, self.facts.decided_by(decision), outputs)

    def contributions(self, vote: VotingMethod, voted: Outputs) -> list[float]:
        """Return what each of the m members adds: the score of `voted` less that of a vote learnt without it.

        Parameters
        ----------
        voted
            What `cross_fitted` returned; the votes without a member are cross-fitted alike.
        """
        m = len(self.ballots)
        left_out = (self.ballots.members([at for at in range(m) if at != gone]) for gone in range(m))
        without = [replace(self, ballots=others) for others in left_out]
        merits = [other.merit(other.cross_fitted(vote), other.decision(vote)) for other in without]
        score = self.merit(voted, self.decision(vote))
        return [score - one for one in merits]


def cross_fitted(
    vote: VotingMethod,
    members: Sequence[Answered],
    known: Known,
    spec: EnsembleSpec,
    groups: NDArray[Any] | None = None,
) -> Answered:
    """Vote on the rows that choose, each fold with what is learnt from the other folds.

    Parameters
    ----------
    groups
        (n,) of the first member's rows, kept whole in folds; None where there are none.

    Raises
    ------
    DataError
        there are too few rows to learn from.
    AlignmentError
        an id of the first member is missing from another, or they answer other things.
    """
    evidence = CrossFitting.of(members, known, spec, groups)
    first = members[0].take(evidence.ids)
    voted = like(first, evidence.ballots.names, evidence.cross_fitted(vote), evidence.decision(vote))
    return voted.take(members[0].ids)
