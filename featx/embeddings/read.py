"""A recipe's embeddings read from the cache by id, without torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError, IncompleteError
from featx.registry import suggest_names
from featx.specs.embedding import ResolvedEmbedding
from featx.storage.places import CachePlace
from featx.storage.store import EmbeddingStore
from featx.study.embedding_lock import LockedEmbedding
from featx.study.folders import store_path
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.ids import Ids


def locked_embeddings(study: Study, name: str | None = None) -> list[LockedEmbedding]:
    """Return the recipe's embeddings as they were extracted, or those called `name` (`EmbeddingRequest.is_called`).

    Raises
    ------
    IncompleteError
        an embedding of the recipe has not been extracted.
    DataError
        no extracted embedding is called `name`.
    """
    if name is not None:
        matching_embeddings = [embedding for embedding in study.locked if embedding.request.is_called(name)]
        if not matching_embeddings:
            names = [embedding.request.name for embedding in study.locked]
            raise DataError(f"no extracted embedding is called {name!r}; {suggest_names(name, names)}")
        return matching_embeddings
    embeddings_by_request = {embedding.request: embedding for embedding in study.locked}
    for request in study.recipe.requests:
        if request not in embeddings_by_request:
            raise IncompleteError(
                f"embedding {request.name!r} of recipe {study.recipe.name!r} is not extracted yet; "
                "run 'featx extract' first"
            )
    return [embeddings_by_request[request] for request in study.recipe.requests]


def locked_store(cache: CachePlace, embedding: ResolvedEmbedding) -> EmbeddingStore:
    """Return the store of an extracted embedding in a cache."""
    return EmbeddingStore(store_path(cache, embedding.spec), embedding.spec, embedding.n_features)


def read_embeddings(study: Study, ids: Ids, resolved_embeddings: Sequence[ResolvedEmbedding]) -> Embeddings:
    """Return the vectors of the images `ids`, with the features of the embeddings side by side.

    Raises
    ------
    IncompleteError
        the cache lacks vectors.
    """
    check_embedded(study, ids, resolved_embeddings)
    digests = study.manifest.take(ids).digests.tolist()
    columns = [locked_store(study.cache, embedding).read(digests) for embedding in resolved_embeddings]
    return Embeddings(np.asarray(ids, dtype=object), _side_by_side(columns))


def check_embedded(study: Study, ids: Ids, resolved_embeddings: Sequence[ResolvedEmbedding]) -> None:
    """Check that the cache has the vectors of the images `ids`, without reading them.

    Raises
    ------
    IncompleteError
        the cache lacks vectors.
    """
    digests = study.manifest.take(ids).digests.tolist()
    for embedding in resolved_embeddings:
        store = locked_store(study.cache, embedding)
        if missing_digests := store.missing(digests):
            # The vectors of finished runs stay in the cache when the recipe no longer names their embeddings.
            addition = "" if embedding.request in study.recipe.requests else "add it to the recipe and "
            raise IncompleteError(
                f"{len(missing_digests)} of {len(digests)} images have no embedding {embedding.request.name!r} in "
                f"{store}; {addition}run 'featx extract'"
            )


def _side_by_side(columns: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the features of all embeddings side by side; those of a single one are not copied."""
    if len(columns) == 1:
        return columns[0].astype(np.float32, copy=False)
    return np.hstack(columns, dtype=np.float32)
