"""Sessions of ONNX Runtime, and the outputs of exported models for images."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.groups import NetworkGroup
from featx.embeddings.workers import Decoder
from featx.errors import DataError
from featx.progress import ProgressCallback
from featx.tables.manifest import Manifest

BATCH_SIZE = 32


def open_session(file: Path) -> Any:
    """Return an ONNX Runtime session on the CPU, which logs errors only."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def run_on_images(
    file: Path, groups: Mapping[str, NetworkGroup], rows: Manifest, progress: ProgressCallback
) -> Iterator[NDArray[np.floating[Any]]]:
    """Yield the outputs (b, k) of a model from pixels, batch by batch.

    Parameters
    ----------
    file
        Path of the ONNX model.
    groups
        Name of each input → network that reads it, which states how images are decoded.
    rows
        Images to decode.
    progress
        Function that is called as the images are decoded.

    Raises
    ------
    DataError
        An image cannot be decoded.
    """
    session = open_session(file)
    decoders = {
        name: Decoder(group.requests[0].decoding, (group.resolved.specs[0].preprocessing,))
        for name, group in groups.items()
    }
    for start in range(0, len(rows), BATCH_SIZE):
        progress("compare", start, len(rows))
        batch = slice(start, start + BATCH_SIZE)
        images = list(zip(rows.digests[batch], rows.uris[batch], strict=True))
        pixels = {
            name: np.stack([_decode(decoder, digest, uri) for digest, uri in images])
            for name, decoder in decoders.items()
        }
        yield session.run(None, pixels)[0]
    progress("compare", len(rows), len(rows))


def _decode(decoder: Decoder, digest: str, uri: str) -> NDArray[np.uint8]:
    """Return the pixels (h, w, 3) of an image."""
    decoded_image = decoder.decode(digest, uri)
    if isinstance(decoded_image, str):
        raise DataError(f"{uri} cannot be compared: {decoded_image}; run 'featx extract'")
    return np.broadcast_to(decoded_image[0], (*decoded_image[0].shape[:2], 3))
