"""Vectors that an extraction stored, and the same vectors computed one image at a time."""

from collections.abc import Callable

import numpy as np

from featx.embeddings.groups import network_groups
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.embeddings.runtimes import Execution
from featx.embeddings.workers import Decoder
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.study import Study


def stored_rows(study: Study) -> dict[str, bytes]:
    """Return the bytes of the row of each image that has one, by id."""
    table = study.outcomes
    ids = table.loc[table["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
    x = read_embeddings(study, ids, locked_embeddings(study)).x
    return {name: row.tobytes() for name, row in zip(ids, x, strict=True)}


def row_alone(study: Study) -> Callable[[str], bytes]:
    """Return a function from id to the row of one image, which computes the row alone in this process.

    The function uses only the file's URI from the extraction. It raises an error for an image that cannot be decoded.
    """
    (embedding,) = study.locked
    (group,) = network_groups([embedding.request])
    decoder = Decoder(embedding.spec.decoding, (embedding.spec.preprocessing,))
    runner = group.portable.build_runner(Execution("torch", "cpu"))
    places = dict(zip(study.manifest.ids, zip(study.manifest.digests, study.manifest.uris, strict=True), strict=True))

    def row(name: str) -> bytes:
        digest, uri = places[name]
        decoded = decoder.decode(digest, uri)
        assert not isinstance(decoded, str), decoded
        batch = np.zeros((runner.rows, *decoded[0].shape[:2], 3), dtype=np.uint8)
        # One grey channel is broadcast to three.
        batch[0] = decoded[0]
        (x,) = runner(batch)
        assert (x.shape, x.dtype) == ((runner.rows, embedding.n_features), np.float32)
        return x[0].tobytes()

    return row
