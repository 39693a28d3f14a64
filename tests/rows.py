"""The vectors that an extraction stored, and the same vectors computed one image at a time."""

from collections.abc import Callable

import numpy as np

from featx.embeddings.groups import network_groups
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.embeddings.runtimes import Execution
from featx.embeddings.workers import Decoder
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.study import Study


def stored_rows(study: Study) -> dict[str, bytes]:
    """Return the row of each image that has one: id → its bytes."""
    table = study.outcomes
    ids = table.loc[table["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
    x = read_embeddings(study, ids, locked_embeddings(study)).x
    return {name: row.tobytes() for name, row in zip(ids, x, strict=True)}


def row_alone(study: Study) -> Callable[[str], bytes]:
    """Return the function that computes the row of one image of a study, by its id, in this process and without others.

    It raises where the image has none: nothing of the extraction is used but which file is meant.
    """
    (locked,) = study.locked
    (group,) = network_groups([locked.request])
    decoder = Decoder(locked.spec.decoding, (locked.spec.preprocessing,))
    runner = group.portable.build_runner(Execution("torch", "cpu"))
    places = dict(zip(study.manifest.ids, zip(study.manifest.digests, study.manifest.uris, strict=True), strict=True))

    def row(name: str) -> bytes:
        digest, uri = places[name]
        found = decoder.decode(digest, uri)
        assert not isinstance(found, str), found
        batch = np.zeros((runner.rows, *found[0].shape[:2], 3), dtype=np.uint8)
        batch[0] = found[0]  # one grey channel is spread over three
        (x,) = runner(batch)
        assert (x.shape, x.dtype) == ((runner.rows, locked.n_features), np.float32)
        return x[0].tobytes()

    return row
