"""Small pictures of a study's images, shown only if the images have not changed since the extraction."""

from collections.abc import Sequence
from dataclasses import dataclass

from featx.errors import ReadError
from featx.images.contents import digest
from featx.images.decode import decode
from featx.images.sources import read_content
from featx.reports.figures import encode_thumbnail
from featx.specs.embedding import Decoding
from featx.study.study import Study

CHANGED = "changed since the extraction"
UNREADABLE = "cannot be read any more"


@dataclass(frozen=True)
class Picture:
    """Picture of one image for the report.

    Attributes
    ----------
    uri
        Small JPEG as a data URI; empty if there is none.
    note
        Reason why there is no picture; empty otherwise.
    """

    uri: str = ""
    note: str = ""


def load_pictures(study: Study, ids: Sequence[str]) -> dict[str, Picture]:
    """Return image id → picture."""
    rows = study.manifest.take(ids)
    triples = zip(rows.ids, rows.uris, rows.digests, strict=True)
    return {name: _picture(uri, expected_digest, study.recipe.decoding) for name, uri, expected_digest in triples}


def _picture(uri: str, expected_digest: str, decoding: Decoding) -> Picture:
    try:
        content = read_content(uri)
        if digest(content) != expected_digest:
            return Picture(note=CHANGED)
        return Picture(encode_thumbnail(decode(content, decoding)))
    except (ReadError, FileNotFoundError):
        return Picture(note=UNREADABLE)
