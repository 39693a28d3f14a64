"""Embed the damaged rows of repaired stores again."""

from collections.abc import Collection, Mapping

from featx.embeddings.external import import_vectors
from featx.embeddings.fill import NetworkPlan, fill
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.read import locked_store
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.progress import ProgressCallback
from featx.storage.places import CachePlace
from featx.study.study import Study


def embed_damaged_rows(
    study: Study, cache: CachePlace, damaged_digests: Mapping[str, Collection[str] | None], progress: ProgressCallback
) -> None:
    """Embed damaged rows of a recipe's embeddings again, from the images of its last extraction.

    Vectors that were made elsewhere are read again from their file, in the recipe's own cache only.

    Parameters
    ----------
    study
        The study of the recipe.
    cache
        The cache of the stores, which may be another one than the recipe's.
    damaged_digests
        Fingerprint of an embedding → digests of the damaged rows; None if they cannot be read, so that all images
        without a row are embedded.
    progress
        Receives the progress.

    Raises
    ------
    IncompleteError
        Data or labels have changed since the last extraction, or nothing has been extracted.
    """
    engine = study.recipe.extraction
    for embedding in study.locked:
        fingerprint = embedding.spec.fingerprint()
        if fingerprint not in damaged_digests or not embedding.holds:
            continue
        if embedding.request.vectors is not None:
            if cache.absolute() == study.cache.absolute():
                import_vectors(study, [embedding.request], study.manifest, engine.segment_rows, progress)
            continue
        digests = damaged_digests[fingerprint]
        uris = {digest: uri for digest, uri in study.contents.items() if digests is None or digest in digests}
        plan = NetworkPlan(NetworkGroup((embedding.request,)), (embedding,), (locked_store(cache, embedding),))
        fill([plan], uris, RuntimeSelector(cache, engine, uris, progress), progress)
