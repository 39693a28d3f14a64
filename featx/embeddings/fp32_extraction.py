"""Extraction of a study's images in fp32, for runs whose embeddings are of reduced precision."""

from collections.abc import Sequence

import numpy as np

from featx.embeddings.extraction_writing import record_pending
from featx.embeddings.fill import fill, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.errors import DataError
from featx.progress import ProgressCallback
from featx.specs.embedding import EXTERNAL, EmbeddingSpec, ReducedPrecision, ResolvedEmbedding
from featx.study.embedding_lock import LockedEmbedding
from featx.study.study import Study

FULL_PRECISION = {"precision": "fp32", "dtype": "float32"}


def is_reduced(spec: EmbeddingSpec) -> bool:
    """Return whether a network's vectors were computed or stored with less than 32 bits."""
    return isinstance(spec.precision, ReducedPrecision) or (spec.dtype == "float16" and spec.backbone != EXTERNAL)


def extract_in_fp32(
    study: Study, embeddings: Sequence[ResolvedEmbedding], progress: ProgressCallback
) -> tuple[LockedEmbedding, ...]:
    """Return embeddings of the same layers in fp32, after the rows of all parts that the cache lacks were embedded.

    The tables of the study and its record of extracted embeddings stay as they are.

    Parameters
    ----------
    study
        Study whose images are embedded, with the settings of its ``[extraction]``.
    embeddings
        Embeddings of a run, each file of weights given by its path on this machine.
    progress
        Function that is called as the extraction advances.

    Raises
    ------
    DataError
        An embedding is vectors that were made elsewhere, or its network, weights or preprocessing have changed.
    """
    requests = [embedding.request.model_copy(update=FULL_PRECISION) for embedding in embeddings]
    rows = study.manifest.take(np.concatenate([study.ids(part) for part in ("train", "val", "test")]))
    uris = dict(zip(rows.digests.tolist(), rows.uris.tolist(), strict=True))
    selector = RuntimeSelector(study.cache, study.recipe.extraction, uris, progress)
    plans = plans_for(network_groups(list(dict.fromkeys(requests))), selector)
    locked_embeddings = {item.request: item for plan in plans for item in plan.locked}
    for embedding, request in zip(embeddings, requests, strict=True):
        if locked_embeddings[request].spec != embedding.spec.model_copy(update=FULL_PRECISION):
            raise DataError(
                f"the network, weights or preprocessing of {embedding.request.name!r} have changed since the run was "
                "fitted; run 'featx extract' and 'featx fit' again"
            )
    record_pending(study, locked_embeddings.values())
    fill(plans, uris, selector, progress)
    return tuple(locked_embeddings[request] for request in requests)
