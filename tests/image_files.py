"""Image files and pixels for tests of decoding and resizing."""

import io
from typing import Any

import numpy as np
from PIL import Image

from featx.images.contents import Content
from featx.images.decode import decode
from featx.specs.embedding import Decoding


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded_pixels(content: Content, **choices: Any) -> list[Any]:
    """Return the decoded pixels as nested lists."""
    image = decode(content, Decoding(**choices))
    assert image.mode in {"L", "RGB"}
    return np.asarray(image.convert("RGB")).tolist()


def decoded_greys(content: Content, **choices: Any) -> list[Any]:
    """Return one of three equal channels of the decoded pixels as nested lists."""
    channels = np.asarray(decoded_pixels(content, **choices))
    assert (channels == channels[..., :1]).all()
    return channels[..., 0].tolist()


def noise(*shape: int) -> np.ndarray:
    """Return reproducible random bytes of a shape."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
