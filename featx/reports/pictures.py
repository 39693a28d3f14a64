"""Small pictures of a study's images, shown only if the images have not changed since the extraction."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

from featx.errors import ReadError
from featx.images.decode import decode
from featx.images.sources import read_unchanged
from featx.progress import ProgressCallback, no_progress
from featx.reports.page.components import Picture
from featx.specs.embedding import Decoding
from featx.study.study import Study

THUMBNAIL_PX = 120
JPEG_QUALITY = 80
CHANGED = "changed since it was read"
UNREADABLE = "cannot be read any more"


def load_pictures(study: Study, ids: Sequence[str], progress: ProgressCallback = no_progress) -> dict[str, Picture]:
    """Return image id → picture; each image is read once.

    Parameters
    ----------
    progress
        Callback for the progress of the stage ``pictures``.
    """
    distinct_ids = list(dict.fromkeys(ids))
    rows = study.manifest.take(distinct_ids)
    pictures = {}
    for name, uri, expected_digest in zip(distinct_ids, rows.uris, rows.digests, strict=True):
        pictures[name] = load_picture(uri, expected_digest, study.recipe.decoding)
        progress("pictures", len(pictures), len(distinct_ids))
    return pictures


def load_picture(uri: str, expected_digest: str, decoding: Decoding) -> Picture:
    """Return the picture of an image, or the reason why there is none: it is gone, unreadable or changed."""
    try:
        content = read_unchanged(uri, expected_digest)
        return Picture(note=CHANGED) if content is None else Picture(encode_thumbnail(decode(content, decoding)))
    except (ReadError, FileNotFoundError):
        return Picture(note=UNREADABLE)


def encode_thumbnail(image: Image.Image) -> str:
    """Return a small JPEG of an image in a data URI."""
    thumbnail = image.copy()
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
