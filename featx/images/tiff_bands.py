"""TIFF files with channels that Pillow does not read: many bands, or numbers of 16 bits and more in each channel."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from featx.errors import ReadError
from featx.images.contents import UNDECODABLE

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 274, 277
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_SIZES, PLANES, PREDICTOR = 273, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES, SAMPLE_FORMAT = 322, 323, 324, 325, 339
KINDS = {1: "u", 2: "i", 3: "f"}
# Compressions of bytes: none, LZW, deflate (two numbers) and PackBits.
NO_COMPRESSION, BYTE_COMPRESSIONS = 1, {1, 5, 8, 32946, 32773}
SEPARATE_PLANES = 2
NO_PREDICTOR, DIFFERENCES = 1, 2
GREY_OR_RGB = {0, 1, 2}
WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class TiffLayout:
    """The layout of the numbers in one page of a TIFF file, from its tags.

    Attributes
    ----------
    width, height, n_channels
        Size in pixels, and number of channels.
    dtype
        Type of the numbers, with the byte order of the file.
    compression, photometric, predictor, orientation
        Values of the tags.
    is_planar, is_tiled
        Whether the channels are stored one after the other, and whether blocks are tiles.
    block
        Width and height of a tile or a strip.
    offsets, sizes
        Position and number of bytes of each block.
    """

    width: int
    height: int
    n_channels: int
    dtype: np.dtype[Any]
    compression: int
    photometric: int
    predictor: int
    orientation: int
    is_planar: bool
    is_tiled: bool
    block: tuple[int, int]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"a TIFF with {self.n_channels} channels of {self.dtype.name}"


def read_layout(data: bytes, frame: int = 0) -> TiffLayout | None:
    """Return the layout of a page of a TIFF file; None if the file is no TIFF, or its tags are damaged.

    Parameters
    ----------
    data
        Bytes of the file.
    frame
        Index of the page, from 0.

    Raises
    ------
    ReadError
        there is no such page.
    """
    if not data.startswith(TIFF_SIGNATURES):
        return None
    try:
        return _parse_layout(_read_tags(data, frame))
    except ReadError:
        raise
    # Pillow's parser raises any kind of error on damaged tags.
    except Exception:
        return None


def _read_tags(data: bytes, frame: int) -> ImageFileDirectory_v2:
    is_big = data[2:4] in {b"+\0", b"\0+"}
    tags = ImageFileDirectory_v2(data[: 16 if is_big else 8])
    stream = io.BytesIO(data)
    for number in range(frame + 1):
        if not tags.next:
            raise ReadError(f"has {number} frames, expected frame {frame} (decoding.frame counts from 0)")
        stream.seek(tags.next)
        tags.load(stream)
    return tags


def _parse_layout(tags: ImageFileDirectory_v2) -> TiffLayout:
    width, height, n_channels = int(tags[WIDTH]), int(tags[LENGTH]), int(tags.get(SAMPLES, 1))
    (bits,), (kind,) = set(tags[BITS]), set(tags.get(SAMPLE_FORMAT, (1,)))
    is_tiled = TILE_OFFSETS in tags
    block = (
        (tags[TILE_WIDTH], tags[TILE_LENGTH]) if is_tiled else (width, min(height, tags.get(ROWS_PER_STRIP, height)))
    )
    return TiffLayout(
        width=width,
        height=height,
        n_channels=n_channels,
        dtype=np.dtype(f"{'<' if tags.prefix == b'II' else '>'}{KINDS[kind]}{bits // 8}"),
        compression=int(tags.get(COMPRESSION, NO_COMPRESSION)),
        photometric=int(tags.get(PHOTOMETRIC, 1)),
        predictor=int(tags.get(PREDICTOR, NO_PREDICTOR)),
        orientation=int(tags.get(ORIENTATION, 1)),
        is_planar=tags.get(PLANES, 1) == SEPARATE_PLANES and n_channels > 1,
        is_tiled=is_tiled,
        block=(int(block[0]), int(block[1])),
        offsets=tuple(tags[TILE_OFFSETS if is_tiled else STRIP_OFFSETS]),
        sizes=tuple(tags[TILE_SIZES if is_tiled else STRIP_SIZES]),
    )


def check_black_is_zero(photometric: int | None) -> None:
    """Check that the numbers of a grey TIFF are not inverted, which Pillow corrects in pictures of 8 bits alone.

    Raises
    ------
    ReadError
        they are.
    """
    if photometric == WHITE_IS_ZERO:
        raise ReadError(
            "is a grey TIFF of more than 8 bits in which 0 is white, expected 0 for black; invert its values and save "
            "it again"
        )


def can_read_bands(layout: TiffLayout) -> bool:
    """Whether `read_bands` reads a layout: plain numbers, uncompressed or compressed as bytes."""
    is_byte_compressed = layout.compression in BYTE_COMPRESSIONS and layout.predictor in {NO_PREDICTOR, DIFFERENCES}
    return is_byte_compressed and layout.photometric in GREY_OR_RGB


def read_bands(data: bytes, layout: TiffLayout, max_bytes: int) -> NDArray[Any]:
    """Return the numbers (h, w, c) of a page of a TIFF file.

    Parameters
    ----------
    data
        Bytes of the file.
    layout
        Layout of the page.
    max_bytes
        Maximum size of the numbers, and of one block, in bytes.

    Raises
    ------
    ReadError
        the layout is not supported, the numbers take too many bytes, or the file is truncated.
    """
    if not can_read_bands(layout):
        raise ReadError(
            f"is {layout}, in compression {layout.compression}, which cannot be read; convert it to npy, for example "
            "with the package tifffile or rasterio"
        )
    if layout.n_channels == 1 and layout.dtype.itemsize > 1:
        check_black_is_zero(layout.photometric)
    for area in (layout.width * layout.height, layout.block[0] * layout.block[1]):
        if (n_bytes := area * layout.n_channels * layout.dtype.itemsize) > max_bytes:
            raise ReadError(f"has {n_bytes} bytes once decoded, expected at most {max_bytes} (decoding.max_bytes)")
    values: NDArray[Any] = np.zeros((layout.height, layout.width, layout.n_channels), layout.dtype.newbyteorder("="))
    for number, (top, left, channels) in enumerate(_block_places(layout)):
        if number >= len(layout.offsets) or number >= len(layout.sizes):
            raise ReadError(f"{UNDECODABLE}: its list of blocks is truncated")
        target = values[top : top + layout.block[1], left : left + layout.block[0], channels]
        block = _read_block(data, layout, number, target.shape)
        target[...] = block[: target.shape[0], : target.shape[1]]
    # Pillow inverts pictures of 8 bits in which 0 is white; so does this reader.
    is_inverted = layout.n_channels == 1 and layout.photometric == WHITE_IS_ZERO and layout.dtype == np.uint8
    return 255 - values if is_inverted else values


def _block_places(layout: TiffLayout) -> Iterator[tuple[int, int, slice]]:
    """Yield the first row and column of each block, and its channels, in the order of the file."""
    planes = [slice(n, n + 1) for n in range(layout.n_channels)] if layout.is_planar else [slice(None)]
    for channels in planes:
        for top in range(0, layout.height, layout.block[1]):
            for left in range(0, layout.width, layout.block[0]):
                yield top, left, channels


def _read_block(data: bytes, layout: TiffLayout, number: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the numbers (rows, columns, channels) of one strip or tile; `shape` is that of its part of the picture."""
    # Tiles are stored in full, and the last strip is not.
    rows = layout.block[1] if layout.is_tiled else shape[0]
    row_bytes = layout.block[0] * shape[2] * layout.dtype.itemsize
    stored_block = data[layout.offsets[number] : layout.offsets[number] + layout.sizes[number]]
    unpacked_block = (
        stored_block
        if layout.compression == NO_COMPRESSION
        else _decompress(stored_block, layout.compression, row_bytes, rows)
    )
    if len(unpacked_block) < rows * row_bytes:
        raise ReadError(f"{UNDECODABLE}: block {number} has {len(unpacked_block)} bytes, expected {rows * row_bytes}")
    block: NDArray[Any] = np.frombuffer(unpacked_block, layout.dtype, rows * row_bytes // layout.dtype.itemsize)
    block = block.reshape(rows, layout.block[0], shape[2])
    if layout.predictor == NO_PREDICTOR:
        return block
    return np.cumsum(block, axis=1, dtype=layout.dtype.newbyteorder("="))


def _decompress(stored_block: bytes, compression: int, row_bytes: int, rows: int) -> bytes:
    """Return the bytes of a block: Pillow decompresses them as the pixels of a grey picture of 8 bits."""
    tags = {WIDTH: row_bytes, LENGTH: rows, BITS: 8, COMPRESSION: compression, PHOTOMETRIC: 1, SAMPLES: 1}
    tags |= {STRIP_OFFSETS: 0, ROWS_PER_STRIP: rows, STRIP_SIZES: len(stored_block)}
    tags[STRIP_OFFSETS] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    file = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + stored_block
    with Image.open(io.BytesIO(file), formats=["TIFF"]) as image:
        return image.tobytes()
