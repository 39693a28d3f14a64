"""Everything that one head's run is made from."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import UnsuitedError
from featx.facts import Facts
from featx.heads.models import Head, Task
from featx.heads.rows import TrainRows
from featx.heads.search import Arena
from featx.recipe import OF_NO_NAME
from featx.registry import HEADS
from featx.specs import HeadSpec
from featx.tables import Embeddings, Ids, Known, Truth
from featx.weighting import row_weights
from featx.workspace import LockedEmbedding, Study

SEARCH = 4  # version of spaces, search and calibration: what one of another version found is not taken for this one's
MOST_COMBINED = 3  # embeddings of which every combination is tried; of more, each alone and all of them
Chosen = tuple[LockedEmbedding, ...]


@dataclass(frozen=True, eq=False)
class Job:
    """A head, a target, and the rows.

    Attributes
    ----------
    locked
        The embeddings that stand side by side in `embeddings`.
    ids
        Of train, val and test.
    known
        Of train and val only.
    """

    study: Study
    target: str
    spec: HeadSpec
    locked: Chosen
    embeddings: Embeddings
    ids: dict[str, Ids]
    known: Known

    def asked(self) -> dict[str, Any]:
        """Return what makes this run what it is; its fingerprint names the folder."""
        return {
            "kind": "head",
            "search": SEARCH,
            "head": self.spec.model_copy(update={"embeddings": "search" if self.searches else "all"}).identity(),
            "target": self.target,
            "embeddings": [one.spec.fingerprint() for one in self.candidates],
            "split": self.study.split_fingerprint(),
            "groups": self.study.recipe.split.by,
            "labels": self.study.labels_fingerprint(self.target),
        }

    @property
    def stem(self) -> str:
        """How the run's name begins."""
        is_named = self.spec.embeddings not in OF_NO_NAME
        named = dict.fromkeys(one.request.nickname for one in self.candidates if is_named)
        return "-".join([self.spec.name, *named, self.target])

    @property
    def searches(self) -> bool:
        """Whether the search chooses among the embeddings."""
        return self.spec.embeddings == "search"

    @cached_property
    def candidates(self) -> Chosen:
        """What of `locked` the head may stand on."""
        if self.spec.embeddings in OF_NO_NAME:
            return self.locked
        return tuple(one for one in self.locked if one.request.is_called(str(self.spec.embeddings)))

    @cached_property
    def choices(self) -> dict[str, Chosen]:
        """The embeddings that the head may stand on together, by their names."""
        most = len(self.candidates)
        sizes = range(1, most + 1) if most <= MOST_COMBINED else (1, most)
        chosen = [some for size in (sizes if self.searches else [most]) for some in combinations(self.candidates, size)]
        return {" + ".join(one.request.name for one in some): some for some in chosen}

    def x(self, ids: Ids, chosen: Chosen) -> NDArray[np.float32]:
        """Return (n, d) of some embeddings, side by side."""
        rows, edges = self.embeddings.take(ids).x, np.cumsum([0, *(one.n_features for one in self.locked)])
        if chosen == self.locked:
            return rows
        places = [self.locked.index(one) for one in chosen]
        return np.hstack([rows[:, edges[at] : edges[at + 1]] for at in places])

    def arenas(self, at: NDArray[np.intp] | None = None) -> dict[str, Arena]:
        """Return the train rows, or some of them, with each choice of embeddings."""
        whole = {name: self._arena(chosen) for name, chosen in self.choices.items()}
        if at is None:
            return whole
        parts = {name: arena.rows.take(at) for name, arena in whole.items()}
        return {name: Arena(self._head(*rows.x.shape), rows) for name, rows in parts.items()}

    def _arena(self, chosen: Chosen) -> Arena:
        ids = self.ids["train"]
        x, facts = self.x(ids, chosen), Facts.of(self.known.take(ids))
        return Arena(self._head(*x.shape), TrainRows(x, facts, self.weights, self.study.groups(ids)))

    def _head(self, n_rows: int, n_features: int) -> Head:
        task = Task(n_rows, n_features, len(self.known.names), self.spec.seed, self.known.kind, self.spec.solver)
        head: Head = HEADS.get(self.spec.name)(task)
        return head

    def refusal(self) -> UnsuitedError | None:
        """Return why the head cannot learn the target, or not with the weights that rows have; None where it can."""
        try:
            head = self._head(len(self.ids["train"]), sum(one.n_features for one in self.candidates))
        except UnsuitedError as error:
            return error
        if self.spec.calibration not in (known := head.calibrations(self.known.kind)) and self.known.kind != "numbers":
            return UnsuitedError(
                f"head {self.spec.name!r} cannot have calibration = {self.spec.calibration!r} for {self.known.kind}; "
                f"expected one of {', '.join(known)}"
            )
        if self.spec.solver not in head.solvers:
            return UnsuitedError(
                f"head {self.spec.name!r} has no solver {self.spec.solver!r}; expected {' or '.join(head.solvers)}"
            )
        soft = isinstance(self.known, Truth) and self.known.shares is not None
        if head.weighs or not (soft or self.weights is not None):
            return None
        found = "soft labels" if soft else "weights"
        return UnsuitedError(f"head {self.spec.name!r} cannot weigh rows, the target has {found}; use another head")

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """(n,) of the train rows; None where all weigh the same."""
        ids, columns = self.ids["train"], self.study.recipe.group_columns(self.spec.group_weight)
        groups = self.study.group_names(columns, ids) if columns else None
        weights = row_weights(f"head {self.spec.name!r}", self.spec.class_weight, self.known.take(ids), groups)
        return weights if np.ptp(weights) else None
