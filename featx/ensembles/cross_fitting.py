"""Cross-fitting of ensemble methods on the selection rows: predictions for each fold come from a fit on the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.ensembles.combiners import Combiner, EnsembleMethod, MemberOutputs
from featx.errors import DataError
from featx.metrics.score_kinds import Outputs
from featx.metrics.scores import resolve_metric, signed_score
from featx.parallel.threads import single_threaded
from featx.specs.ensembling import EnsembleSpec
from featx.tables.decision_rule import DecisionRule
from featx.tables.predictions import AnyPredictions
from featx.tables.resampling_units import are_mostly_single, assign_folds
from featx.tables.sample_weights import check_some_weight
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth


@dataclass(frozen=True)
class CrossFitting:
    """The members' outputs and the true values for the selection rows.

    Attributes
    ----------
    ids
        (n,) sorted ids, so that results do not depend on the order of rows in the tables.
    members
        The members' outputs for these rows, with columns in the order of the truth.
    targets
        True values of these rows.
    spec
        Settings of the ensemble methods, with the metric that chooses between settings.
    groups
        (n,) groups that folds keep whole, or None.
    """

    ids: NDArray[np.object_]
    members: MemberOutputs
    targets: TargetValues
    spec: EnsembleSpec
    groups: NDArray[Any] | None

    @classmethod
    def of(
        cls, tables: Sequence[AnyPredictions], truth: AnyTruth, spec: EnsembleSpec, groups: NDArray[Any] | None = None
    ) -> Self:
        """Return the outputs of the members' tables, with the true values of the first table's rows.

        Parameters
        ----------
        tables
            One table of predictions per member.
        truth
            True values of the first table's rows, and maybe of others.
        groups
            (n,) groups of the first table's rows that folds keep whole; None for no groups.

        Raises
        ------
        AlignmentError
            Another member lacks an id of the first one, or the members predict different things.
        DataError
            All rows have weight 0.
        """
        first_table = tables[0]
        order = np.argsort(first_table.ids.astype(str))
        ids = first_table.ids[order]
        targets = TargetValues.of(truth.take(ids))
        check_some_weight(targets.weights, f"{len(ids)} selection rows")
        members = MemberOutputs.of([first_table.take(ids), *tables[1:]], truth.names)
        spec = spec.model_copy(update={"metric": resolve_metric(targets, spec.metric)})
        return cls(ids, members, targets, spec, None if groups is None else groups[order])

    @single_threaded()
    def fit(self, method: EnsembleMethod) -> Combiner:
        """Return the combiner that an ensemble method fits to all rows."""
        return method.fit(self.members, self.targets, self.spec)

    @single_threaded()
    def cross_predict(self, method: EnsembleMethod) -> Outputs:
        """Return (n, k) outputs, those of each fold by a combiner fitted to the other folds.

        Raises
        ------
        DataError
            There are fewer rows or groups than folds.
        """
        if not method.is_trained:
            return self.fit(method).outputs(self.members)
        fold = self.fold_numbers()
        outputs: Outputs = np.empty_like(self.members.outputs[0])
        for number in range(self.spec.folds):
            fit_rows, test_rows = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            combiner = method.fit(self.members.take(fit_rows), self.targets.take(fit_rows), self.spec)
            outputs[test_rows] = combiner.outputs(self.members.take(test_rows))
        return outputs

    def fold_numbers(self) -> NDArray[np.int64]:
        """Return the (n,) fold of each row; folds are stratified by class, or keep groups whole."""
        n_units = len(self.ids) if self.groups is None else len(np.unique(self.groups))
        if n_units < self.spec.folds:
            units = "val rows" if self.groups is None else "groups or sets of copies among val rows"
            raise DataError(
                f"{n_units} {units} are too few to cross-fit an ensemble in {self.spec.folds} folds; put more rows in "
                "val"
            )
        strata = self.targets.strata()
        if self.groups is not None and not are_mostly_single(self.groups):
            strata = np.zeros_like(strata)
        return assign_folds(strata, self.groups, self.spec.folds, self.spec.seed)

    def decision_rule(self, method: EnsembleMethod) -> DecisionRule | None:
        """Return the decision rule of the combiner that an ensemble method fits to all rows."""
        return self.fit(method).decision_rule(self.members)

    def signed_score(self, outputs: Outputs, decision: DecisionRule | None = None) -> float:
        """Return the score of outputs under a decision rule, with a sign that makes greater values better."""
        # `of` sets the metric.
        assert self.spec.metric is not None
        return signed_score(self.spec.metric, self.targets.decided_by(decision), outputs)

    def contributions(self, method: EnsembleMethod, outputs: Outputs) -> list[float]:
        """Return the contribution of each of the m members: the signed score of the ensemble minus that without it.

        Parameters
        ----------
        outputs
            (n, k) outputs of `cross_predict`; the ensembles without a member are cross-fitted too.
        """
        signed_score = self.signed_score(outputs, self.decision_rule(method))
        used_members = self._used_members(method)
        return [
            signed_score - self._signed_score_without(member, method) if member in used_members else 0.0
            for member in range(len(self.members))
        ]

    def _signed_score_without(self, excluded_member: int, method: EnsembleMethod) -> float:
        """Return the signed score of the ensemble without a member."""
        other_members = [member for member in range(len(self.members)) if member != excluded_member]
        cross_fitting = replace(self, members=self.members.select(other_members))
        return cross_fitting.signed_score(cross_fitting.cross_predict(method), cross_fitting.decision_rule(method))

    def _used_members(self, method: EnsembleMethod) -> set[int]:
        """Return the members on which a fit depends, to all rows or to those of a fold."""
        if method.find_used is None:
            return set(range(len(self.members)))
        fold, all_rows = self.fold_numbers(), np.arange(len(self.ids))
        row_sets = [all_rows, *(np.flatnonzero(fold != number) for number in range(self.spec.folds))]
        member_sets = [
            method.find_used(self.members.take(rows), self.targets.take(rows), self.spec) for rows in row_sets
        ]
        return set().union(*member_sets)
