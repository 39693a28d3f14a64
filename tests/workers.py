"""Decoding in workers like in an extraction, without the seconds."""

from collections.abc import Generator, Iterable
from contextlib import closing

from featx.embeddings import workers
from featx.embeddings.workers import Decoder, ImageSource
from featx.images.value_ranges import Pixels
from featx.specs.extraction import EngineSpec

CHUNK = EngineSpec().batch_size


def decoded(
    todo: Iterable[tuple[str, ImageSource]], decoder: Decoder, n_workers: int
) -> Generator[tuple[str, tuple[Pixels, ...] | str]]:
    """Yield digests and pixels, or the reason why an image cannot be decoded."""
    with closing(workers.decode_images(todo, decoder, n_workers, CHUNK)) as images:
        for digest, pixels, seconds in images:
            assert seconds > 0
            yield digest, pixels
