"""Image files and pixels for tests of decoding and resizing."""

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
from PIL import Image

from featx.images.contents import Content
from featx.images.decode import decode
from featx.images.digests import MIN_SETTLED_NS
from featx.specs.embedding import Decoding


def wait_until_settled() -> None:
    """Wait until the digests of files that were written before may be cached."""
    time.sleep(1.5 * MIN_SETTLED_NS / 1e9)


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


def png16(values: np.ndarray, *, interlaced: bool = False) -> bytes:
    """Return a PNG of 16 bits for each of 1 to 4 channels, which Pillow reads and does not write; (h, w, c)."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, int(interlaced))
    first, passes = (0, 0, 8, 8), [(4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    steps = [first, *passes] if interlaced else [(0, 0, 1, 1)]
    rows = [row for x, y, dx, dy in steps for row in values[y::dy, x::dx] if row.size]
    compressed_rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    return png_of_chunks((b"IHDR", head), (b"IDAT", compressed_rows), (b"IEND", b""))


def png_of_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of named chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    )


def tiff(values: np.ndarray, **tags: tuple[int, ...]) -> bytes:
    """Return an uncompressed TIFF of (h, w) or (h, w, c) numbers; `tags` such as ``t338=(2,)`` replace or add tags."""
    height, width, *channels = values.shape
    n = channels[0] if channels else 1
    fields: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (8 * values.itemsize,) * n,
        259: (1,),
        262: (2 if n in {3, 4} else 1,),
        277: (n,),
        278: (height,),
        279: (values.nbytes,),
        339: ({"u": 1, "i": 2, "f": 3}[values.dtype.kind],) * n,
    }
    fields |= {int(name[1:]): value for name, value in tags.items()}
    fields[273] = (0,)
    start, extra, entries = 8 + 2 + 12 * len(fields) + 4, b"", b""
    n_extra = sum(4 * len(numbers) for numbers in fields.values() if len(numbers) > 1)
    fields[273] = (start + n_extra,)
    for tag, numbers in sorted(fields.items()):
        number_bytes = struct.pack(f"<{len(numbers)}I", *numbers)
        entries += struct.pack("<HHI", tag, 4, len(numbers))
        entries += number_bytes if len(numbers) == 1 else struct.pack("<I", start + len(extra))
        extra += number_bytes if len(numbers) > 1 else b""
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + entries + bytes(4) + extra + data
