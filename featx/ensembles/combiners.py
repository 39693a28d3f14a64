"""Outputs of ensemble members as arrays, combiners of them, and ensemble methods, which create combiners."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.metrics.score_kinds import Outputs
from featx.parallel.threads import single_threaded
from featx.specs.base import Spec
from featx.specs.ensembling import EnsembleSpec
from featx.tables.decision_rule import DecisionRule, combine_rules
from featx.tables.ids import Floats, Kind
from featx.tables.predictions import AnyPredictions, column_order
from featx.tables.target_values import TargetValues

ALL_KINDS: tuple[Kind, ...] = ("classes", "labels", "numbers")


@dataclass(frozen=True)
class MemberOutputs:
    """Outputs of m members for the same n rows.

    Attributes
    ----------
    kind
        Kind of the target.
    names
        Names of the k classes, t labels or t numbers, in the order of the columns.
    outputs
        (m, n, k) probabilities of classes or labels, or numbers.
    rules
        Decision rule of each member; empty if all members predict the most probable class.
    """

    kind: Kind
    names: tuple[str, ...]
    outputs: Floats
    rules: tuple[DecisionRule | None, ...] = ()

    @classmethod
    def of(cls, tables: Sequence[AnyPredictions], names: Sequence[str] | None = None) -> Self:
        """Return the outputs of prediction tables, with rows in the order of the first table's ids.

        Parameters
        ----------
        tables
            One table of predictions per member.
        names
            Names in the order of the columns; by default the first member's.

        Raises
        ------
        AlignmentError
            Another member lacks an id of the first one, or the members predict different things.
        """
        first_table = tables[0]
        if other_kinds := {table.kind for table in tables} - {first_table.kind}:
            raise AlignmentError(
                f"members predict {first_table.kind} and {', '.join(sorted(other_kinds))}; expected one kind"
            )
        ordered_tables = [table.take(first_table.ids).ordered(names or first_table.names) for table in tables]
        outputs, rules = (
            np.stack([table.values for table in ordered_tables]),
            tuple(table.decision for table in ordered_tables),
        )
        return cls(first_table.kind, ordered_tables[0].names, outputs, rules)

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.outputs)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return the outputs for the rows at the positions `rows`."""
        return replace(self, outputs=self.outputs[:, rows])

    def select(self, members: Sequence[int]) -> Self:
        """Return the outputs of the members at the positions `members`."""
        rules = tuple(self.rules[member] for member in members) if self.rules else ()
        return replace(self, outputs=self.outputs[list(members)], rules=rules)

    def ordered(self, names: Sequence[str]) -> Self:
        """Return the same outputs with the columns in the order of `names`.

        Raises
        ------
        AlignmentError
            `names` is not the same set of names.
        """
        columns = column_order(self.kind, self.names, names)
        rules = tuple(None if rule is None else rule.ordered(columns) for rule in self.rules)
        return replace(self, names=tuple(names), outputs=self.outputs[..., columns], rules=rules)

    def rule(self, member: int) -> DecisionRule | None:
        """Return the decision rule of a member."""
        return self.rules[member] if self.rules else None

    def mean_rule(self, shares: Sequence[float]) -> DecisionRule | None:
        """Return the decision rule of a weighted mean of the members, by (m,) weights of the members."""
        return combine_rules(self.rules, shares) if self.rules else None


class Combiner(Spec):
    """Combines the outputs of m members; its fields are its whole state and are stored in ``ensemble.json``."""

    @abstractmethod
    def outputs(self, members: MemberOutputs) -> Outputs:
        """Return the (n, k) combined outputs."""

    def decision_rule(self, members: MemberOutputs) -> DecisionRule | None:
        """Return the decision rule of the combined outputs: the mean of the members' rules."""
        return members.mean_rule([1.0] * len(members))

    @property
    def unused(self) -> tuple[int, ...]:
        """Positions of the members that do not change the combined outputs."""
        return ()

    def without_unused(self) -> "Combiner":
        """Return the combiner of the used members only."""
        return self

    @single_threaded()
    def combine(self, tables: Sequence[AnyPredictions], names: Sequence[str] | None = None) -> AnyPredictions:
        """Return one table of predictions from the members' tables.

        Parameters
        ----------
        tables
            One table per member, for the same rows; rows are matched by id, columns by name.
        names
            Names in the order of the result's columns; by default the first member's.

        Returns
        -------
        Predictions or Estimates
            Table with the ids, parts and folds of the first member, in its order.

        Raises
        ------
        AlignmentError
            Another member lacks an id of the first one, or the members predict different things.
        """
        members = MemberOutputs.of(tables, names)
        return tables[0].with_outputs(members.names, self.outputs(members), self.decision_rule(members))


class WeightedCombiner(Combiner):
    """A combiner with one weight per member, equal for all rows.

    Attributes
    ----------
    weights
        m weights ≥ 0, not all 0; only their ratios matter.
    """

    weights: tuple[float, ...]

    def decision_rule(self, members: MemberOutputs) -> DecisionRule | None:
        """Return the mean of the members' decision rules, weighted like the members."""
        return members.mean_rule(self.weights)

    @property
    def unused(self) -> tuple[int, ...]:
        """Positions of the members with weight 0."""
        return tuple(member for member, weight in enumerate(self.weights) if not weight)

    def without_unused(self) -> "WeightedCombiner":
        """Return the combiner of the members with a positive weight."""
        return self.model_copy(update={"weights": tuple(weight for weight in self.weights if weight)})


Fit = Callable[[MemberOutputs, TargetValues, EnsembleSpec], Combiner]


@dataclass(frozen=True)
class EnsembleMethod:
    """A method of combining members, named by an entry point of the group ``featx.ensemble_methods``.

    Attributes
    ----------
    fit
        Function (members' outputs, true values of the same rows, spec) → combiner.
    combiner
        Class of the combiners that `fit` returns.
    kinds
        Kinds of targets that the method can predict.
    is_trained
        Whether `fit` uses the true values, so that the method must be scored by cross-fitting.
    find_used
        Function of the arguments of `fit` that returns the positions of the members on which its result depends; by
        default it depends on all.
    """

    fit: Fit
    combiner: type[Combiner]
    kinds: tuple[Kind, ...] = ALL_KINDS
    is_trained: bool = True
    find_used: Callable[["MemberOutputs", TargetValues, EnsembleSpec], set[int]] | None = None

    def read(self, fields: dict[str, Any]) -> Combiner:
        """Return the combiner whose ``model_dump`` gave `fields`."""
        return self.combiner.model_validate(fields)
