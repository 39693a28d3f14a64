"""Vectors that were made elsewhere, published into the cache or given to models that predict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.extraction_writing import record_pending
from featx.embeddings.read import locked_store
from featx.embeddings.space import check_space
from featx.embeddings.vector_files import VectorFile, find_positions, read_vector_file
from featx.errors import DataError
from featx.progress import ProgressCallback
from featx.specs.embedding import EmbeddingRequest, EmbeddingSpec, ResolvedEmbedding
from featx.storage.store import EmbeddingStore, to_stored_dtype
from featx.study.embedding_lock import LockedEmbedding
from featx.study.study import Study
from featx.tables.manifest import Manifest

if TYPE_CHECKING:
    from featx.embeddings.files import EmbeddedFiles

# Relative difference up to which two vectors of one image are rounding, of fp16 or of batches of another shape.
MAX_RELATIVE_DIFFERENCE = 0.01


@dataclass
class ImportedVectors:
    """The vectors of all files of a recipe, after they were published.

    Attributes
    ----------
    locked
        Resolved embedding of each file.
    embedded
        Digests with a new vector.
    failed
        Digest of each image without a vector → reason.
    warnings
        Ids of the files that are no images.
    """

    locked: list[LockedEmbedding] = field(default_factory=list)
    embedded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def import_vectors(
    study: Study,
    requests: Sequence[EmbeddingRequest],
    manifest: Manifest,
    segment_rows: int,
    progress: ProgressCallback,
) -> ImportedVectors:
    """Check the files of vectors that a recipe names, and publish their vectors by the digests of the images.

    Parameters
    ----------
    study
        The study whose cache gets the vectors.
    requests
        Requests; those that a network computes are left out.
    manifest
        All images, with digests where they can be read.
    segment_rows
        Maximum number of rows of a segment.
    progress
        Callback that receives the number of vectors read.

    Raises
    ------
    DataError
        a file cannot be read, has no id of an image, gives copies of an image different vectors, or numbers that are
        not finite.
    StoreError
        there is no room.
    """
    imported_vectors = ImportedVectors()
    for request in requests:
        if request.vectors is None:
            continue
        vectors = read_vector_file(Path(request.vectors))
        locked_embedding = LockedEmbedding(
            request=request,
            spec=EmbeddingSpec.of_vectors(vectors.sha256, request.dtype),
            n_features=vectors.n_features,
            weights_file=vectors.state,
            reason="vectors made elsewhere",
        )
        rows = _match_images(vectors, manifest, imported_vectors)
        store = locked_store(study.cache, locked_embedding)
        new_digests = store.missing(rows)
        check_space([store], rows, study.cache, progress)
        record_pending(study, [locked_embedding])
        _check_stored(vectors, rows, store, manifest)
        for start in range(0, len(new_digests), segment_rows):
            digests = new_digests[start : start + segment_rows]
            x = vectors.take(np.array([rows[digest] for digest in digests]))
            store.add(digests, x, 1, {"vectors": vectors.file.name, "featx": version("featx")})
            progress("read vectors", start + len(digests), len(new_digests))
        imported_vectors.locked.append(locked_embedding)
        imported_vectors.embedded |= set(new_digests)
    return imported_vectors


def _match_images(vectors: VectorFile, manifest: Manifest, imported_vectors: ImportedVectors) -> dict[str, int]:
    """Return digest → row of the file, and record images without a vector and ids that are no images."""
    is_readable = manifest.digests != ""
    ids, digests = manifest.ids[is_readable], manifest.digests[is_readable]
    positions = find_positions(vectors.ids, ids)
    if not (positions >= 0).any():
        first_id = repr(vectors.ids[0]) if len(vectors.ids) else "none"
        raise DataError(
            f"{vectors.file} has no vector for any of {len(ids)} images: its first id is {first_id}, the first image "
            f"is {ids[0]!r}; expected the ids of 'featx cache export'"
        )
    if n_extra := int((find_positions(manifest.ids, vectors.ids) < 0).sum()):
        imported_vectors.warnings.append(
            f"{vectors.file.name}: {n_extra} of {len(vectors.ids)} ids are no images of the recipe and were ignored"
        )
    rows: dict[str, int] = {}
    copies: list[tuple[int, int]] = []
    for digest, position in zip(digests.tolist(), positions.tolist(), strict=True):
        if position >= 0 and rows.setdefault(digest, position) != position:
            copies.append((rows[digest], position))
    _check_copies(vectors, copies)
    reason = f"has no vector in {vectors.file.name}"
    imported_vectors.failed |= {digest: reason for digest in digests.tolist() if digest not in rows}
    return rows


def _check_copies(vectors: VectorFile, copies: Sequence[tuple[int, int]]) -> None:
    """Check that copies of one image have one vector, since vectors are stored by the content of the image.

    Raises
    ------
    DataError
        Two copies have different vectors.
    """
    first_rows, second_rows = (np.array([pair[side] for pair in copies], dtype=np.intp) for side in (0, 1))
    if (is_different := _are_different(vectors.take(first_rows), vectors.take(second_rows))).any():
        pair = int(is_different.argmax())
        raise DataError(
            f"{vectors.file}: {int(is_different.sum())} images have another vector than a copy of the same content, "
            f"first {vectors.ids[second_rows[pair]]!r}, a copy of {vectors.ids[first_rows[pair]]!r}; expected one "
            "vector for each content"
        )


def _check_stored(vectors: VectorFile, rows: dict[str, int], store: EmbeddingStore, manifest: Manifest) -> None:
    """Check that all numbers are finite, and that stored vectors are those of the file.

    They differ if another recipe uses the file, and the same id is another image there.

    Raises
    ------
    DataError
        A number is not finite, or a stored vector is not that of the file.
    """
    x = vectors.take(np.array(list(rows.values())))
    missing_digests = set(store.missing(rows))
    is_stored = np.array([digest not in missing_digests for digest in rows])
    digests = [digest for digest in rows if digest not in missing_digests]
    is_different = _are_different(to_stored_dtype(x[is_stored], store.spec).astype(np.float32), store.read(digests))
    if is_different.any():
        first_id = manifest.ids[manifest.digests.tolist().index(digests[int(is_different.argmax())])]
        raise DataError(
            f"{vectors.file}: {int(is_different.sum())} images have another vector in {store}, first {first_id!r}; "
            "another recipe uses this file for images with other ids: give each recipe a file of its own"
        )


def _are_different(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return (n,) whether two vectors differ by more than rounding."""
    distances = np.linalg.norm(x.astype(np.float64) - y, axis=1)
    lengths = np.maximum(np.linalg.norm(x.astype(np.float64), axis=1), np.linalg.norm(y.astype(np.float64), axis=1))
    return np.asarray(distances > MAX_RELATIVE_DIFFERENCE * lengths)


def load_vectors_as_embedded(file: Path, embeddings: Sequence[ResolvedEmbedding]) -> "EmbeddedFiles":
    """Return the vectors of a file as the input of models, with the ids in place of the images.

    Parameters
    ----------
    file
        File of vectors for new images.
    embeddings
        The embeddings of all models.

    Raises
    ------
    DataError
        the models need an embedding that a network computes or several files, or the file does not fit.
    """
    from featx.embeddings.files import EmbeddedFiles

    names = ", ".join(embedding.request.name for embedding in embeddings)
    if len(embeddings) != 1 or embeddings[0].request.vectors is None:
        raise DataError(
            f"--vectors: the runs use {names or 'networks'}; expected runs on one embedding of vectors made elsewhere, "
            "choose them with 'featx predict --run NAME'"
        )
    vectors = read_vector_file(file)
    if not len(vectors.ids):
        raise DataError(f"{file} has no rows; expected one row of x for each image to predict")
    if vectors.n_features != embeddings[0].n_features:
        raise DataError(
            f"{file} has {vectors.n_features} features, the runs were fitted on {embeddings[0].n_features} of {names}; "
            "expected vectors of the same extractor"
        )
    x = vectors.take(np.arange(len(vectors.ids)))
    return EmbeddedFiles(vectors.ids.tolist(), {embeddings[0].spec.fingerprint(): x}, {}, [])
