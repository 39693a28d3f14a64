"""Corrupted pictures as networks take them: decoded once, corrupted in worker processes, then resized."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featx.embeddings.workers import ChunkResult, Images, Sizes, time_chunk
from featx.errors import DataError
from featx.images.resizing import make_preprocessor
from featx.images.value_ranges import Pixels
from featx.progress import ProgressCallback
from featx.robustness.corruptions.corruption import Corruption, random_source
from featx.robustness.sampled_rows import SampledRows, read_picture
from featx.specs.embedding import Decoding, Preprocessing

# Larger pictures are reduced first: noise of single pixels would vanish when a network's input is resized from more of
# them, and the duration of most kinds grows with the number of pixels.
MAX_SHORTER_SIDE_PX = 512
MAX_BYTES_IN_MEMORY = 4 * 2**30


def reduce_picture(picture: Image.Image) -> Pixels:
    """Return (h, w) or (h, w, 3) pixels of a picture whose shorter side has at most `MAX_SHORTER_SIDE_PX` pixels."""
    factor = MAX_SHORTER_SIDE_PX / min(picture.size)
    if factor < 1:
        width, height = (max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def read_pictures(
    rows: SampledRows, decodings: Sequence[Decoding], progress: ProgressCallback
) -> Mapping[Decoding, Images]:
    """Return the (digest, pixels) of the images by the settings of decoding; equal images once.

    Raises
    ------
    DataError
        an image is gone, unreadable or changed since the extraction, or the pictures take too much memory.
    """
    places = {digest: (name, uri) for digest, uri, name in zip(rows.digests, rows.uris, rows.ids, strict=True)}
    pictures: dict[Decoding, list[tuple[str, Pixels]]] = {decoding: [] for decoding in decodings}
    n_bytes = 0
    for number, (digest, (name, uri)) in enumerate(places.items(), start=1):
        for decoding, decoded_pictures in pictures.items():
            decoded_pictures.append((digest, reduce_picture(read_picture(str(name), uri, digest, decoding))))
            n_bytes += decoded_pictures[-1][1].nbytes
        if n_bytes > MAX_BYTES_IN_MEMORY:
            raise DataError(
                f"{number} of {len(places)} decoded images take more than {MAX_BYTES_IN_MEMORY / 2**30:.0f} GiB of "
                f"memory; choose fewer images, such as {number // 2}"
            )
        progress("read images", number, len(places))
    return pictures


@dataclass(frozen=True)
class CorruptingDecoder:
    """Corruption and resizing of decoded pictures in worker processes.

    Attributes
    ----------
    corruption
        The kind of corruption; None leaves pictures as they are.
    kind
        Name of the kind.
    severity
        Its severity.
    sizes
        Preprocessing of each network.
    """

    corruption: Corruption | None
    kind: str
    severity: int
    sizes: tuple[Preprocessing, ...] = ()

    def corrupt(self, pixels: Pixels, digest: str) -> Pixels:
        """Return a corrupted copy of the pixels of a picture; its digest decides all random choices."""
        if self.corruption is None:
            return pixels
        rng = random_source(digest, self.kind, self.severity)
        return self.corruption.apply_to_values(pixels, self.severity, rng)

    def decode_chunk(self, images: Images) -> ChunkResult[Sizes]:
        """Return the corrupted pixels of a few pictures at each size, and the seconds that they took."""
        return time_chunk(lambda: list(self._resized(images)))

    def _resized(self, images: Images) -> Iterator[Sizes]:
        for digest, pixels in images:
            picture = Image.fromarray(self.corrupt(np.asarray(pixels), digest))
            yield tuple(make_preprocessor(size)(picture) for size in self.sizes)
