"""The rows, embeddings and settings of one run of a head."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from featx.errors import UnsuitedError
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head
from featx.heads.head_settings import EARLY_STOPPING, make_head
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.heads.search.cross_validation import SearchSpace
from featx.metrics.scores import NEEDS_PROBABILITIES, resolve_metric
from featx.specs.head import HeadSpec
from featx.specs.head_embeddings import EMBEDDINGS_KEYWORDS
from featx.storage.store import EmbeddingStore
from featx.study.embedding_lock import LockedEmbedding
from featx.study.run_spec import RULES, HeadRunSpec
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.ids import Floats, Ids
from featx.tables.sample_weights import balancing_factors, class_weights, compute_row_weights
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth, Truth

FLOAT_BYTES = 4
# Copies of the searched sample that fit in memory at once, because folds copy their rows.
SAMPLE_COPIES = 4
MIN_SAMPLE_ROWS = 1000
# Up to so many embeddings the search tries every combination; of more, each alone and all of them.
MAX_COMBINED_EMBEDDINGS = 3
EmbeddingChoice = tuple[LockedEmbedding, ...]


@dataclass(frozen=True, eq=False)
class HeadJob:
    """A head, a target, and the rows that the head is fitted on and predicts.

    Attributes
    ----------
    study
        Study that the run belongs to.
    target
        Name of the target.
    spec
        Head and its search.
    locked_embeddings
        Extracted embeddings, whose vectors are concatenated.
    read_embeddings
        Function that returns the embeddings of all rows; called when they are first needed.
    ids
        Ids of ``train``, ``val`` and ``test``.
    target_table
        Target values of train and val.
    is_refit
        Whether the chosen setting of a finished run is fitted without a search; by default False.
    """

    study: Study
    target: str
    spec: HeadSpec
    locked_embeddings: EmbeddingChoice
    read_embeddings: Callable[[], Embeddings]
    ids: dict[str, Ids]
    target_table: AnyTruth
    is_refit: bool = False

    def run_spec(self) -> HeadRunSpec:
        """Return everything that determines the run; its fingerprint names the folder."""
        spec = self.spec.model_copy(update={"embeddings": "search" if self.is_embedding_searched else "all"})
        return HeadRunSpec(
            rules=RULES["head"],
            train=self.study.train_state(self.target, self.group_columns),
            head=spec.identity(),
            embeddings=tuple(embedding.spec.fingerprint() for embedding in self.candidates),
            embedding_names=tuple(embedding.request.name for embedding in self.candidates),
        )

    @cached_property
    def group_columns(self) -> list[str]:
        """Label columns of the groups that get equal weights."""
        return self.study.recipe.group_columns(self.spec.group_weight)

    @property
    def stem(self) -> str:
        """Beginning of the run's name."""
        is_named = self.spec.embeddings not in EMBEDDINGS_KEYWORDS
        nicknames = dict.fromkeys(embedding.request.nickname for embedding in self.candidates if is_named)
        return "-".join([self.spec.name, *nicknames, self.target])

    @property
    def progress_name(self) -> str:
        """Name of the run in its progress: head, embedding if one is named, and target if there are several."""
        is_named = self.spec.embeddings not in EMBEDDINGS_KEYWORDS
        target = f" ({self.target})" if len(self.study.recipe.targets) > 1 else ""
        return self.spec.name + (f"/{self.spec.embeddings}" if is_named else "") + target

    @property
    def is_embedding_searched(self) -> bool:
        """Whether the choice of embeddings is a parameter of the search."""
        return self.spec.embeddings == "search"

    @cached_property
    def candidates(self) -> EmbeddingChoice:
        """Extracted embeddings that the head may use."""
        if self.spec.embeddings in EMBEDDINGS_KEYWORDS:
            return self.locked_embeddings
        return tuple(
            embedding for embedding in self.locked_embeddings if embedding.request.is_called(str(self.spec.embeddings))
        )

    @cached_property
    def embedding_choices(self) -> dict[str, EmbeddingChoice]:
        """Embeddings that the head may use together, by their joined names."""
        n = len(self.candidates)
        sizes = [n]
        if self.is_embedding_searched:
            sizes = list(range(1, n + 1)) if n <= MAX_COMBINED_EMBEDDINGS else [1, n]
        choices = [choice for size in sizes for choice in combinations(self.candidates, size)]
        return {" + ".join(embedding.request.name for embedding in choice): choice for choice in choices}

    def features(self, ids: Ids, choice: EmbeddingChoice) -> NDArray[np.float32]:
        """Return (n, d) features: the vectors of the chosen embeddings, concatenated."""
        x = self.read_embeddings().take(ids).x
        if choice == self.locked_embeddings:
            return x
        edges = np.cumsum([0, *(embedding.n_features for embedding in self.locked_embeddings)])
        positions = [self.locked_embeddings.index(embedding) for embedding in choice]
        return np.hstack([x[:, edges[position] : edges[position + 1]] for position in positions])

    def search_spaces(self) -> dict[str, SearchSpace]:
        """Return the train rows with each choice of embeddings, or a sample of them if they exceed the memory."""
        rows, ids = self.searched_rows, self.ids["train"]
        if self.exceeds_memory:
            stored_rows = self.open_stored_rows(np.asarray(ids)[self._sample_rows])
            (name,) = self.embedding_choices
            return {name: self.search_space(replace(rows, x=stored_rows.read(np.arange(len(rows)))))}
        return {
            name: self.search_space(replace(rows, x=self.features(ids, choice)))
            for name, choice in self.embedding_choices.items()
        }

    def search_space(self, rows: TrainRows) -> SearchSpace:
        """Return the head for these rows, and for their folds if it needs some, and the rows."""
        if self.needs_folds:
            return SearchSpace.of(self.searched_spec, rows)
        head = make_head(self.searched_spec, rows.x.shape, rows.targets.kind, rows.targets.n_outputs)
        return SearchSpace(head, rows)

    @cached_property
    def searched_spec(self) -> HeadSpec:
        """The spec, with the minibatch solver if the rows exceed the memory and the head has it."""
        if self.exceeds_memory and "minibatch" in self._make_head(self.spec).solvers:
            return self.spec.model_copy(update={"solver": "minibatch"})
        return self.spec

    def _make_head(self, spec: HeadSpec) -> Head:
        shape = (len(self.ids["train"]), self.n_features)
        return make_head(spec, shape, self.target_table.kind, len(self.target_table.names))

    @property
    def needs_folds(self) -> bool:
        """Whether the search, early stopping or the predictions of the train rows need folds."""
        is_searched = self.spec.trials > 0 or self.spec.nested > 0 or EARLY_STOPPING in self.spec.params
        return (is_searched and not self.is_refit) or not self.is_fitted_once

    @property
    def calibrates_trials(self) -> bool:
        """Whether a trial of the search needs probabilities that the head lacks."""
        metric = resolve_metric(self.searched_rows.targets, self.spec.metric)
        is_searched = self.spec.trials > 0 and metric in NEEDS_PROBABILITIES
        return is_searched and self._make_head(self.searched_spec).needs_calibration

    # Rows that stay in the store

    @property
    def n_features(self) -> int:
        """Number of features of all candidates together."""
        return sum(embedding.n_features for embedding in self.candidates)

    @property
    def exceeds_memory(self) -> bool:
        """Whether the train rows take more than `spec.memory_gb`."""
        n_bytes = FLOAT_BYTES * self.n_features * len(self.ids["train"])
        return self.spec.memory_gb is not None and n_bytes > self.spec.memory_gb * 1e9

    def open_stored_rows(self, ids: Ids) -> StoredRows:
        """Return rows whose vectors stay in the store."""
        stores = [
            EmbeddingStore(self.study.store_path(embedding.spec), embedding.spec, embedding.n_features)
            for embedding in self.candidates
        ]
        return StoredRows(stores, self.study.manifest.take(ids).digests.tolist())

    @cached_property
    def rows_without_features(self) -> TrainRows:
        """The train rows with one column of zeros instead of their vectors."""
        ids = self.ids["train"]
        zeros = np.zeros((len(ids), 1), dtype=np.float32)
        targets = TargetValues.of(self.target_table.take(ids))
        factors = balancing_factors(self.spec.class_weight, self.target_table.take(ids), self._weights)
        return TrainRows(zeros, targets, self.weights, self.study.groups(ids), self.class_weights, factors)

    @cached_property
    def searched_rows(self) -> TrainRows:
        """The train rows, or a sample if they exceed the memory, with a column of zeros instead of their vectors."""
        return self.rows_without_features.take(self._sample_rows) if self.exceeds_memory else self.rows_without_features

    @cached_property
    def _sample_rows(self) -> NDArray[np.intp]:
        """Numbers of randomly chosen rows, as many as the search has memory for."""
        assert self.spec.memory_gb is not None
        n = len(self.ids["train"])
        max_rows = int(self.spec.memory_gb * 1e9 / (SAMPLE_COPIES * FLOAT_BYTES * self.n_features))
        order = np.random.default_rng(self.spec.seed).permutation(n)
        return np.sort(order[: max(max_rows, min(n, MIN_SAMPLE_ROWS))])

    @property
    def is_fitted_once(self) -> bool:
        """Whether the chosen setting is fitted on all train rows only: it needs neither a calibration nor scores."""
        is_scored = self.is_refit or len(self.ids["val"]) > 0
        return self.spec.calibration == "none" and is_scored and not self.exceeds_memory

    # Requests that a head cannot serve

    def unsuited_error(self) -> UnsuitedError | None:
        """Return the error of a head that cannot learn the target with these settings and weights; None if it can."""
        try:
            head = self._make_head(self.searched_spec)
        except UnsuitedError as error:
            return error
        problem = self._calibration_problem(head) or self._out_of_core_problem(head)
        if problem is None and self.spec.solver not in head.solvers:
            problem = f"has no solver {self.spec.solver!r}; expected {' or '.join(head.solvers)}"
        problem = problem or self._weights_problem(head)
        return None if problem is None else UnsuitedError(f"head {self.spec.name!r} {problem}")

    def _calibration_problem(self, head: Head) -> str | None:
        calibrations = head.allowed_calibrations(self.target_table.kind)
        if self.spec.calibration not in calibrations and self.target_table.kind != "numbers":
            return (
                f"cannot have calibration = {self.spec.calibration!r} for {self.target_table.kind}; "
                f"expected one of {', '.join(calibrations)}"
            )
        if self.spec.calibration == "temperature" and head.needs_calibration and self.class_weights is not None:
            return (
                "has calibration = 'temperature' and class_weight: a temperature has no offset that could remove the "
                "class weights; use 'platt', 'isotonic' or 'auto'"
            )
        return None

    def _out_of_core_problem(self, head: Head) -> str | None:
        """Return why the head cannot be fitted out of core; None if it can, or if the rows fit in memory."""
        if not self.exceeds_memory:
            return None
        limit = f"has more rows than memory_gb = {self.spec.memory_gb}, and "
        if self.spec.trials == 0:
            return limit + "out of core trials = 0 is not supported; set a larger memory_gb"
        if head.fit_out_of_core is None:
            return limit + "cannot be fitted out of core; use logreg, svm or xgboost"
        if self.target_table.kind != "classes" or self._has_soft_labels:
            return limit + "out of core it learns classes with hard labels only; set a larger memory_gb"
        if self.is_embedding_searched or self.spec.nested:
            return limit + "out of core embeddings = 'search' and nested are not supported; set a larger memory_gb"
        return None

    def _weights_problem(self, head: Head) -> str | None:
        if head.accepts_weights or not (
            self._has_soft_labels or self.weights is not None or self.class_weights is not None
        ):
            return None
        cause = "soft labels" if self._has_soft_labels else "weights"
        return f"cannot weigh rows, the target has {cause}; use another head"

    @property
    def _has_soft_labels(self) -> bool:
        return isinstance(self.target_table, Truth) and self.target_table.shares is not None

    @cached_property
    def weights(self) -> Floats | None:
        """(n,) weights of the train rows, without class weights; None if all are equal."""
        return self._weights if np.ptp(self._weights) else None

    @cached_property
    def class_weights(self) -> Floats | None:
        """(k,) weights of the classes; None if all are equal."""
        train = self.target_table.take(self.ids["train"])
        return class_weights(f"head {self.spec.name!r}", self.spec.class_weight, train, self._weights)

    @cached_property
    def _weights(self) -> Floats:
        ids, columns = self.ids["train"], self.group_columns
        groups = self.study.group_names(columns, ids) if columns else None
        return compute_row_weights(self.target_table.take(ids), groups)
