"""What members say of the same rows, in arrays, and what a way to vote is."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.parallel.threads import single_threaded
from featx.specs.base import Spec
from featx.specs.ensembling import EnsembleSpec
from featx.tables.decision_rule import DecisionRule, combined_rule
from featx.tables.ids import Kind
from featx.tables.predictions import Answered, Estimates, LabelProba, Predictions
from featx.tables.target_values import TargetValues

Outputs = NDArray[np.float64]  # (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers
EVERY_KIND: tuple[Kind, ...] = ("classes", "labels", "numbers")


@dataclass(frozen=True)
class MemberOutputs:
    """What m members say of n rows.

    Attributes
    ----------
    kind, names
        Of what they answer, and of its columns.
    outputs
        (m, n, k) probabilities of classes or labels, or numbers.
    rules
        By which each member decides for a class; empty where all decide for the most probable one.
    """

    kind: Kind
    names: tuple[str, ...]
    outputs: NDArray[np.float64]
    rules: tuple[DecisionRule | None, ...] = ()

    @classmethod
    def of(cls, members: Sequence[Answered], names: Sequence[str] | None = None) -> Self:
        """Lay tables on top of each other, rows in the order of the first one's ids.

        Parameters
        ----------
        names
            The order of the columns; the first member's by default.

        Raises
        ------
        AlignmentError
            an id of the first member is missing from another, or they answer other things.
        """
        first = members[0]
        kind, wanted = kind_of(first), tuple(names or names_of(first))
        if other := {kind_of(member) for member in members} - {kind}:
            raise AlignmentError(f"members answer {kind} and {', '.join(sorted(other))}; expected one of them")
        outputs = np.stack([_columns(member.take(first.ids), wanted) for member in members])
        tables = [member.ordered(wanted) for member in members if isinstance(member, Predictions)]
        return cls(kind, wanted, outputs, tuple(table.decision for table in tables))

    def __len__(self) -> int:
        """Return how many members there are."""
        return len(self.outputs)

    def rows(self, at: NDArray[np.intp]) -> Self:
        """Return some of the rows."""
        return replace(self, outputs=self.outputs[:, at])

    def members(self, at: Sequence[int]) -> Self:
        """Return some of the members."""
        return replace(self, outputs=self.outputs[list(at)], rules=tuple(self.rules[one] for one in at if self.rules))

    def ordered(self, names: Sequence[str]) -> Self:
        """Return the same with the columns in the order of `names`.

        Raises
        ------
        AlignmentError
            the names are not the same set.
        """
        places = _places(self.names, names)
        rules = tuple(None if rule is None else rule.ordered(places) for rule in self.rules)
        return replace(self, names=tuple(names), outputs=self.outputs[..., places], rules=rules)

    def rule(self, member: int) -> DecisionRule | None:
        """Return the rule by which a member decides for a class."""
        return self.rules[member] if self.rules else None

    def rule_of_mean(self, shares: Sequence[float]) -> DecisionRule | None:
        """Return the rule for a mean of the members by (m,) shares; see `featx.tables.decision_rule.combined_rule`."""
        return combined_rule(self.rules, shares) if self.rules else None


def kind_of(answered: Answered) -> Kind:
    """Return what a table answers."""
    if isinstance(answered, Predictions):
        return "classes"
    return "labels" if isinstance(answered, LabelProba) else "numbers"


def names_of(answered: Answered) -> tuple[str, ...]:
    """Return the names of a table's columns."""
    return answered.classes if isinstance(answered, Predictions) else answered.names


def _columns(answered: Answered, names: Sequence[str]) -> Outputs:
    if isinstance(answered, Predictions):
        return answered.ordered(names).proba
    return answered.values[:, _places(answered.names, names)]


def _places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    if set(names) != set(wanted):
        raise AlignmentError(f"expected the columns {list(wanted)!r}, found {list(names)!r}")
    return [list(names).index(name) for name in wanted]


def like(first: Answered, names: tuple[str, ...], outputs: Outputs, decision: DecisionRule | None = None) -> Answered:
    """Return a table of other answers to the rows of `first`; probabilities of classes are scaled to sum to 1."""
    if isinstance(first, Predictions):
        proba = outputs / outputs.sum(axis=1, keepdims=True)
        return Predictions(first.ids, proba, names, first.part, first.fold, decision)
    kind = LabelProba if isinstance(first, LabelProba) else Estimates
    return kind(first.ids, outputs, names, first.part, first.fold)


class Combiner(Spec):
    """Makes one answer of m; its fields are all there is to it, and stand in ``ensemble.json``."""

    @abstractmethod
    def outputs(self, ballots: MemberOutputs) -> Outputs:
        """Return (n, k) answers."""

    def decision(self, ballots: MemberOutputs) -> DecisionRule | None:
        """Return the rule by which the combined answer decides for a class: the mean of the members' rules."""
        return ballots.rule_of_mean([1.0] * len(ballots))

    @property
    def idle(self) -> tuple[int, ...]:
        """The members that it does not listen to, so that nobody need ask them."""
        return ()

    def without_idle(self) -> "Combiner":
        """Return the combiner of the members that are left."""
        return self

    @single_threaded()
    def combine(self, members: Sequence[Answered], names: Sequence[str] | None = None) -> Answered:
        """Return one table of m.

        Parameters
        ----------
        members
            Tables of the same rows; they are matched by id, columns by name.
        names
            The order of the answer's columns; the first member's by default.

        Returns
        -------
        Answered
            ids, parts and folds in the order of the first member.

        Raises
        ------
        AlignmentError
            an id of the first member is missing from another, or they answer other things.
        """
        ballots = MemberOutputs.of(members, names)
        return like(members[0], ballots.names, self.outputs(ballots), self.decision(ballots))


class Weighing(Combiner):
    """A combiner in which each member has one weight for all rows.

    Attributes
    ----------
    weights
        m numbers ≥ 0, not all 0; only their ratio counts.
    """

    weights: tuple[float, ...]

    def decision(self, ballots: MemberOutputs) -> DecisionRule | None:
        """Return the mean of the members' rules, by the weights of the members."""
        return ballots.rule_of_mean(self.weights)

    @property
    def idle(self) -> tuple[int, ...]:
        """Those that weigh nothing."""
        return tuple(at for at, weight in enumerate(self.weights) if not weight)

    def without_idle(self) -> "Weighing":
        """See `Combiner`."""
        return self.model_copy(update={"weights": tuple(weight for weight in self.weights if weight)})


Learn = Callable[[MemberOutputs, TargetValues, EnsembleSpec], Combiner]


@dataclass(frozen=True)
class VotingMethod:
    """A way to vote, as ``featx.votes`` names it.

    Attributes
    ----------
    learn
        From what m members say of rows, and the truth of these, makes what combines them.
    combiner
        The class of what it makes.
    kinds
        Of the targets that it can answer.
    learns
        Whether it looks at the truth, and so has to be scored by cross-fitting.
    """

    learn: Learn
    combiner: type[Combiner]
    kinds: tuple[Kind, ...] = EVERY_KIND
    learns: bool = True

    def read(self, fields: dict[str, Any]) -> Combiner:
        """Undo ``model_dump`` of what `learn` made."""
        return self.combiner.model_validate(fields)
