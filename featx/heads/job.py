"""Everything that one head's run is made from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import UnsuitedError
from featx.heads.builtin import Head, HeadTask
from featx.heads.folds import TrainRows
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.heads.search.search import SearchSpace
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.specs.recipe import OF_NO_NAME
from featx.storage.store import EmbeddingStore
from featx.study.embedding_lock import LockedEmbedding
from featx.study.run_folder import RULES
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.ids import Ids
from featx.tables.sample_weights import class_weights, weights_without_classes
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known, Truth

FLOAT_BYTES = 4
SAMPLES = 4  # of the size that is searched on, which memory holds at once: folds copy their rows
FEWEST_SEARCHED = 1000
MOST_COMBINED = 3  # embeddings of which every combination is tried; of more, each alone and all of them
Chosen = tuple[LockedEmbedding, ...]


@dataclass(frozen=True, eq=False)
class HeadJob:
    """A head, a target, and the rows.

    Attributes
    ----------
    locked
        The embeddings that stand side by side.
    read
        Returns those of all rows; called when they are first needed.
    ids
        Of train, val and test.
    known
        Of train and val only.
    """

    study: Study
    target: str
    spec: HeadSpec
    locked: Chosen
    read: Callable[[], Embeddings]
    ids: dict[str, Ids]
    known: Known

    def asked(self) -> dict[str, Any]:
        """Return what makes this run what it is; its fingerprint names the folder."""
        spec = self.spec.model_copy(update={"embeddings": "search" if self.searches else "all"})
        return self.study.training_state(self.target, self.group_columns) | {
            "kind": "head",
            "rules": RULES["head"],
            "head": spec.identity(),
            "embeddings": [one.spec.fingerprint() for one in self.candidates],
        }

    @cached_property
    def group_columns(self) -> list[str]:
        """The label columns of the groups that weigh the same."""
        return self.study.recipe.group_columns(self.spec.group_weight)

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
        rows, edges = self.read().take(ids).x, np.cumsum([0, *(one.n_features for one in self.locked)])
        if chosen == self.locked:
            return rows
        places = [self.locked.index(one) for one in chosen]
        return np.hstack([rows[:, edges[at] : edges[at + 1]] for at in places])

    def arenas(self, at: NDArray[np.intp] | None = None) -> dict[str, SearchSpace]:
        """Return the train rows, or some of them, with each choice of embeddings."""
        whole = {name: self._arena(chosen) for name, chosen in self.choices.items()}
        if at is None:
            return whole
        parts = {name: arena.rows.take(at) for name, arena in whole.items()}
        return {name: SearchSpace(self._head(*rows.x.shape), rows) for name, rows in parts.items()}

    def _arena(self, chosen: Chosen) -> SearchSpace:
        ids = self.ids["train"]
        if self.is_beyond_memory:
            rows = self.shadow.take(at := self._sample())
            x = self.stored(np.asarray(ids)[at]).x(np.arange(len(at)))
            return SearchSpace(self._head(*x.shape), replace(rows, x=x))
        x, facts = self.x(ids, chosen), TargetValues.of(self.known.take(ids))
        return SearchSpace(
            self._head(*x.shape), TrainRows(x, facts, self.weights, self.study.groups(ids), self.class_weights)
        )

    def _head(self, n_rows: int, n_features: int) -> Head:
        task = HeadTask(n_rows, n_features, len(self.known.names), self.spec.seed, self.known.kind, self.spec.solver)
        head: Head = HEADS.get(self.spec.name)(task)
        if self.is_beyond_memory and "minibatch" in head.solvers:
            head = HEADS.get(self.spec.name)(replace(task, solver="minibatch"))
        return head

    # Rows that stay in the store

    @property
    def n_features(self) -> int:
        """D of all that the head may stand on, side by side."""
        return sum(one.n_features for one in self.candidates)

    @property
    def is_beyond_memory(self) -> bool:
        """Whether the train rows take more than the head may."""
        n_bytes = FLOAT_BYTES * self.n_features * len(self.ids["train"])
        return self.spec.memory_gb is not None and n_bytes > self.spec.memory_gb * 1e9

    def stored(self, ids: Ids) -> StoredRows:
        """Return rows that stay in the store."""
        stores = [EmbeddingStore(self.study.store_path(one.spec), one.spec, one.n_features) for one in self.candidates]
        return StoredRows(stores, self.study.manifest.take(ids).digests.tolist())

    @cached_property
    def shadow(self) -> TrainRows:
        """The train rows without their vectors."""
        ids = self.ids["train"]
        empty = np.zeros((len(ids), 1), dtype=np.float32)
        return TrainRows(
            empty, TargetValues.of(self.known.take(ids)), self.weights, self.study.groups(ids), self.class_weights
        )

    def _sample(self) -> NDArray[np.intp]:
        """Return as many row numbers as the search has memory for: folds hold their rows once more."""
        assert self.spec.memory_gb is not None
        n = len(self.ids["train"])
        most = int(self.spec.memory_gb * 1e9 / (SAMPLES * FLOAT_BYTES * self.n_features))
        return np.sort(np.random.default_rng(self.spec.seed).permutation(n)[: max(most, min(n, FEWEST_SEARCHED))])

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
        if self.spec.calibration == "temperature" and head.calibrated and self.class_weights is not None:
            return UnsuitedError(
                f"head {self.spec.name!r} has calibration = 'temperature' and class_weight: a temperature has no "
                "offset to remove the weights by; say 'platt', 'isotonic' or 'auto'"
            )
        if (why := self._cannot_pass(head)) is not None:
            return UnsuitedError(
                f"head {self.spec.name!r} has more rows than memory_gb = {self.spec.memory_gb}, and {why}"
            )
        if self.spec.solver not in head.solvers:
            return UnsuitedError(
                f"head {self.spec.name!r} has no solver {self.spec.solver!r}; expected {' or '.join(head.solvers)}"
            )
        soft = isinstance(self.known, Truth) and self.known.shares is not None
        if head.weighs or not (soft or self.weights is not None or self.class_weights is not None):
            return None
        found = "soft labels" if soft else "weights"
        return UnsuitedError(f"head {self.spec.name!r} cannot weigh rows, the target has {found}; use another head")

    def _cannot_pass(self, head: Head) -> str | None:
        """Return why rows that stay in the store cannot teach the head; None where they can, or fit in memory."""
        if not self.is_beyond_memory:
            return None
        if head.in_passes is None:
            return "cannot learn in passes; use logreg, svm or xgboost"
        if self.known.kind != "classes" or (isinstance(self.known, Truth) and self.known.shares is not None):
            return "learns nothing but classes in passes; say a larger memory_gb"
        if self.searches or self.spec.nested:
            return "can neither choose among embeddings nor be scored from outside then; say a larger memory_gb"
        return None

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """(n,) of the train rows, their classes left aside; None where all weigh the same."""
        return self._weights if np.ptp(self._weights) else None

    @cached_property
    def class_weights(self) -> NDArray[np.float64] | None:
        """(k,) of the classes; None where all weigh the same."""
        train = self.known.take(self.ids["train"])
        return class_weights(f"head {self.spec.name!r}", self.spec.class_weight, train, self._weights)

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        ids, columns = self.ids["train"], self.group_columns
        groups = self.study.group_names(columns, ids) if columns else None
        return weights_without_classes(self.known.take(ids), groups)
