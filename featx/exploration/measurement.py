"""One pass over the images that measures all properties, in worker processes; measurements are cached by digest."""

from contextlib import closing
from dataclasses import dataclass, replace

import pandas as pd

from featx.embeddings.engine import workers_for
from featx.embeddings.workers import CHANGED, REMOVED, ChunkResult, Images, ImageSource, decode_images, time_chunk
from featx.errors import ReadError
from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_properties import MeasuredImage, measure_image
from featx.exploration.property_cache import PropertyCache, Row
from featx.images.contents import digest
from featx.images.hashes import ThumbnailCache
from featx.images.sources import read_content
from featx.images.sqlite_cache import DIGESTS_PER_QUERY
from featx.images.value_ranges import Pixels
from featx.progress import ProgressCallback
from featx.specs.embedding import Decoding

# Images that a worker receives at a time: their results are small.
IMAGES_PER_CHUNK = 32
STAGE = "measure images"
PROPERTIES_FILE = "properties.sqlite"
THUMBNAILS_FILE = "thumbnails.sqlite"


@dataclass(frozen=True)
class ImageMeasurer:
    """Measures images in a worker process.

    Attributes
    ----------
    decoding
        Settings of decoding.
    """

    decoding: Decoding

    def decode(self, expected_digest: str, place: ImageSource) -> MeasuredImage | str:
        """Return the properties of an image, or the reason why there are none."""
        try:
            content = read_content(place) if isinstance(place, str) else place
            return measure_image(content, self.decoding) if digest(content) == expected_digest else CHANGED
        except FileNotFoundError:
            return REMOVED
        except ReadError as error:
            return str(error)
        # Numbers of pixels that no memory holds.
        except (MemoryError, ValueError) as error:
            return f"cannot be measured: {type(error).__name__} {error}".rstrip()

    def decode_chunk(self, images: Images) -> ChunkResult[MeasuredImage]:
        """Return the properties of a few images, or the reasons, and the seconds that they took."""
        return time_chunk(lambda: [self.decode(*image) for image in images])


def measure_images(images: ExploredImages, progress: ProgressCallback) -> ExploredImages:
    """Return the images with the properties and small pictures of all that can be decoded.

    An interrupted pass keeps what was measured.
    """
    notes, decoding = images.study.cache.local_folder, images.recipe.decoding
    uris: dict[str, str] = {}
    for content_digest, uri in zip(images.digests, images.uris, strict=True):
        uris.setdefault(content_digest, uri)
    with PropertyCache(notes / PROPERTIES_FILE, decoding) as cache:
        measured_digests = cache.known(list(uris))[0].index
        pending_images = [
            (content_digest, uris[content_digest])
            for content_digest in pd.Index(list(uris)).difference(measured_digests)
        ]
        reduced_decoding = decoding.model_copy(update={"reduced": True})
        with ThumbnailCache(notes / THUMBNAILS_FILE, reduced_decoding) as thumbnails:
            failure_reasons = _measure(images, pending_images, cache, thumbnails, progress)
        properties, tiles = cache.known(list(uris))
    reasons = {
        image_id: failure_reasons[content_digest]
        for image_id, content_digest in zip(images.ids, images.digests, strict=True)
        if content_digest in failure_reasons
    }
    image_properties = properties.reindex(images.digests).set_index(pd.Index(images.ids))
    return replace(images, properties=image_properties, tiles=tiles, unreadable={**reasons, **images.unreadable})


def _measure(
    images: ExploredImages,
    pending_images: list[tuple[str, str]],
    cache: PropertyCache,
    thumbnails: ThumbnailCache,
    progress: ProgressCallback,
) -> dict[str, str]:
    """Measure images and write the results into the caches; return the reason of each that failed, by digest."""
    failure_reasons: dict[str, str] = {}
    rows: list[Row] = []
    greys: list[tuple[str, Pixels]] = []
    measurer, workers = ImageMeasurer(images.recipe.decoding), workers_for(images.recipe.extraction)
    try:
        with closing(decode_images(pending_images, measurer, workers, IMAGES_PER_CHUNK)) as results:
            for number, (content_digest, result, _) in enumerate(results, start=1):
                if isinstance(result, str):
                    failure_reasons[content_digest] = result
                else:
                    rows.append((content_digest, result.properties, result.tile))
                    greys.append((content_digest, result.thumbnail))
                progress(
                    STAGE, number, len(pending_images), f"{len(failure_reasons)} unreadable" if failure_reasons else ""
                )
                if len(rows) >= DIGESTS_PER_QUERY:
                    cache.remember(rows)
                    thumbnails.remember(greys)
                    rows.clear()
                    greys.clear()
    finally:
        cache.remember(rows)
        thumbnails.remember(greys)
    return failure_reasons
