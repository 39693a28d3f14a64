"""Near copies among all images of a study, searched once for its contents and stored in the study's folder.

::

    runs/<recipe>/copies.parquet   pairs of contents that are near copies, with their similarity
                 /copies.json      settings of the search, and the numbers of images that were left out
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.embeddings.copies import ThumbnailHashes
from featx.embeddings.engine import workers_for
from featx.embeddings.read import locked_store
from featx.embeddings.workers import Decoder, decode_images
from featx.images.hashes import THUMBNAIL_PREPROCESSING, THUMBNAIL_PX, ThumbnailCache, to_grey
from featx.images.sqlite_cache import DIGESTS_PER_QUERY
from featx.images.value_ranges import Pixels
from featx.progress import ProgressCallback, no_progress
from featx.study.near_copy_table import NearCopies
from featx.study.study import Study

# Every image is compared with every other one, which takes some minutes on two cores for this many.
MAX_IMAGES_TO_COMPARE = 100_000


def find_near_copies(study: Study, progress: ProgressCallback = no_progress) -> NearCopies:
    """Return the pairs of near copies among all images of a study.

    The search is repeated only when the images, their decoding or the first embedding change, or when the last search
    had to leave out images.

    Raises
    ------
    IncompleteError
        nothing has been extracted yet.
    """
    copies = study.copies_found()
    if copies is not None and not copies.n_unreadable and not copies.n_without_embedding:
        return copies
    uris = study.contents
    n_not_compared = len(uris) if len(uris) > MAX_IMAGES_TO_COMPARE else 0
    pairs, n_unreadable, n_without_embedding = _no_pairs(), 0, 0
    if not n_not_compared:
        digests, thumbnails = _thumbnails_in_order(study, uris, progress)
        n_unreadable = len(uris) - len(digests)
        x, n_without_embedding = _vectors(study, digests)
        pairs = find_pairs(digests, ThumbnailHashes(thumbnails, x), progress)
    copies = NearCopies(pairs, n_unreadable, n_without_embedding, n_not_compared)
    study.keep_copies(copies)
    return copies


def _no_pairs() -> pd.DataFrame:
    columns = {"digest": "object", "copy": "object", "similarity": "float64"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def find_pairs(
    digests: Sequence[str], hashes: ThumbnailHashes, progress: ProgressCallback = no_progress
) -> pd.DataFrame:
    """Return each pair of near copies once, the earlier content in the order of `digests` as the copy.

    Parameters
    ----------
    digests
        Digests of n images of different content.
    hashes
        Their thumbnails and embeddings.
    progress
        Receives the progress of the comparison.
    """
    rows = np.arange(len(digests))
    if not len(rows):
        return _no_pairs()
    i, j, similarity = hashes.copies(rows, rows, progress)
    i, j = np.maximum(i, j), np.minimum(i, j)
    names = np.asarray(digests, dtype=object)
    rounded_similarity = similarity.astype(np.float64).round(4)
    pairs = pd.DataFrame({"digest": names[i], "copy": names[j], "similarity": rounded_similarity}).drop_duplicates(
        ["digest", "copy"]
    )
    return pairs if len(pairs) else _no_pairs()


def _thumbnails_in_order(study: Study, uris: Mapping[str, str], progress: ProgressCallback) -> tuple[list[str], Pixels]:
    """Return the n digests of the images that can be read, and their thumbnails, (n, h, w)."""
    thumbnails = _thumbnails(study, uris, progress)
    digests = [digest for digest in uris if digest in thumbnails]
    if not digests:
        return digests, np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    return digests, np.stack([thumbnails.pop(digest) for digest in digests])


def _thumbnails(study: Study, uris: Mapping[str, str], progress: ProgressCallback) -> dict[str, Pixels]:
    """Return the thumbnail of each image that can be read; new ones are made in worker processes and cached."""
    decoding = study.recipe.decoding.model_copy(update={"reduced": True})
    engine = study.recipe.extraction
    with ThumbnailCache(study.cache.local_folder / "thumbnails.sqlite", decoding) as cache:
        thumbnails = cache.known(list(uris))
        missing_images = [(digest, uri) for digest, uri in uris.items() if digest not in thumbnails]
        new_thumbnails: list[tuple[str, Pixels]] = []
        decoder = Decoder(decoding, (THUMBNAIL_PREPROCESSING,))
        try:
            with closing(decode_images(missing_images, decoder, workers_for(engine), engine.batch_size)) as images:
                for number, (digest, pixels, _) in enumerate(images, start=1):
                    if not isinstance(pixels, str):
                        new_thumbnails.append((digest, to_grey(pixels[0])))
                    progress("look for copies", number, len(missing_images))
                    if len(new_thumbnails) >= DIGESTS_PER_QUERY:
                        cache.remember(new_thumbnails)
                        thumbnails |= dict(new_thumbnails)
                        new_thumbnails.clear()
        finally:
            cache.remember(new_thumbnails)
    return thumbnails | dict(new_thumbnails)


def _vectors(study: Study, digests: Sequence[str]) -> tuple[NDArray[np.float32] | None, int]:
    """Return the first embedding's vectors, (n, d), and the number of images that lack one; None without an embedding.

    Images without a vector have a row of zeros, which is close to no other row.
    """
    embedding = study.first_embedding
    if embedding is None:
        return None, 0
    store = locked_store(study.cache, embedding)
    missing_digests = set(store.missing(digests))
    is_stored = np.array([digest not in missing_digests for digest in digests], dtype=bool)
    x = np.zeros((len(digests), embedding.n_features), dtype=np.float32)
    x[is_stored] = store.read([digest for digest in digests if digest not in missing_digests])
    return x, len(missing_digests)
