"""Small pictures of a study's images, shown only while the images are those that were extracted."""

from collections.abc import Sequence
from dataclasses import dataclass

from featx.errors import ReadError
from featx.images.contents import digest
from featx.images.decode import decode
from featx.images.sources import read
from featx.reports.figures import thumbnail
from featx.specs.embedding import Decoding
from featx.study.study import Study

CHANGED = "changed since the extraction"
UNREADABLE = "cannot be read any more"


@dataclass(frozen=True)
class Picture:
    """An image as a page shows it.

    Attributes
    ----------
    uri
        A small JPEG as a data URI; empty where there is none to show.
    note
        The reason why there is none; empty otherwise.
    """

    uri: str = ""
    note: str = ""


def pictures(study: Study, ids: Sequence[str]) -> dict[str, Picture]:
    """Return a picture of each image, by id."""
    rows = study.manifest.take(ids)
    triples = zip(rows.ids, rows.uris, rows.digests, strict=True)
    return {name: _picture(uri, expected, study.recipe.decoding) for name, uri, expected in triples}


def _picture(uri: str, expected: str, decoding: Decoding) -> Picture:
    try:
        content = read(uri)
        if digest(content) != expected:
            return Picture(note=CHANGED)
        return Picture(thumbnail(decode(content, decoding)))
    except (ReadError, FileNotFoundError):
        return Picture(note=UNREADABLE)
