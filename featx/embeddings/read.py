"""A recipe's embeddings out of the cache, by id; nothing here needs torch."""

from collections.abc import Sequence

import numpy as np

from featx.errors import DataError, IncompleteError
from featx.registry import suggestion
from featx.storage.store import EmbeddingStore
from featx.study.embedding_lock import LockedEmbedding
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.ids import Ids


def locked_embeddings(study: Study, name: str | None = None) -> list[LockedEmbedding]:
    """Return the recipe's embeddings as they were extracted, or those called `name` (`EmbeddingRequest.is_called`).

    Raises
    ------
    IncompleteError
        one has not been extracted.
    DataError
        none is called `name`.
    """
    if name is not None:
        named = [one for one in study.locked if one.request.is_called(name)]
        if not named:
            known = [one.request.name for one in study.locked]
            raise DataError(f"no extracted embedding is called {name!r}; {suggestion(name, known)}")
        return named
    extracted = {one.request: one for one in study.locked}
    for request in study.recipe.requests:
        if request not in extracted:
            raise IncompleteError(
                f"embedding {request.name!r} of recipe {study.recipe.name!r} is not extracted yet; "
                "run 'featx extract' first"
            )
    return [extracted[request] for request in study.recipe.requests]


def read_embeddings(study: Study, ids: Ids, locked: Sequence[LockedEmbedding]) -> Embeddings:
    """Return the vectors of `ids`, the embeddings side by side.

    Raises
    ------
    IncompleteError
        some are not in the cache.
    """
    digests = study.manifest.take(ids).digests.tolist()
    columns = []
    for one in locked:
        store = EmbeddingStore(study.store_path(one.spec), one.spec, one.n_features)
        if lost := store.missing(digests):
            raise IncompleteError(
                f"{len(lost)} of {len(digests)} images have no embedding {one.request.name!r} in {store}; "
                "run 'featx extract'"
            )
        columns.append(store.read(digests))
    return Embeddings(
        np.asarray(ids, dtype=object),
        np.hstack(columns, dtype=np.float32),
        tuple(one.spec.fingerprint() for one in locked),
    )
