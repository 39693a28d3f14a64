"""TIFF files with channels that Pillow does not read, in all layouts of their numbers."""

import io
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from featx.errors import ReadError
from featx.images.decode import decode, read_size
from featx.images.decoding_proposal import propose_decoding
from featx.images.tiff_bands import read_bands, read_layout
from featx.specs.embedding import Decoding
from tests.image_files import decoded_pixels, noise, tiff

BANDS = np.random.default_rng(0).integers(0, 10_000, (20, 18, 13)).astype(np.uint16)
COMPRESSIONS = {1: "raw", 5: "tiff_lzw", 8: "tiff_adobe_deflate", 32773: "packbits"}


def compressed(block: np.ndarray, name: str) -> bytes:
    """Return the bytes of a block as libtiff compresses them."""
    if name == "raw":
        return block.tobytes()
    buffer = io.BytesIO()
    rows = block.reshape(block.shape[0], -1).view(np.uint8)
    Image.fromarray(rows).save(buffer, "TIFF", compression=name, tiffinfo={278: block.shape[0]})
    buffer.seek(0)
    with TiffImagePlugin.TiffImageFile(buffer) as tiff_file:
        (offset,), (size,) = tiff_file.tag_v2[273], tiff_file.tag_v2[279]
        return buffer.getvalue()[offset : offset + size]


def blocks_of(values: np.ndarray, block: tuple[int, int], planar: bool, tiled: bool) -> list[np.ndarray]:
    """Return the strips or tiles of an image in the order of the file."""
    planes = np.split(values, values.shape[2], axis=2) if planar else [values]
    blocks = []
    for plane in planes:
        for top in range(0, values.shape[0], block[1]):
            for left in range(0, values.shape[1], block[0]):
                part = plane[top : top + block[1], left : left + block[0]]
                pad = ((0, block[1] - part.shape[0]), (0, block[0] - part.shape[1]), (0, 0))
                blocks.append(np.ascontiguousarray(np.pad(part, pad) if tiled else part))
    return blocks


def banded(  # noqa: PLR0913 (one option for each property of the layout)
    values: np.ndarray,
    *,
    compression: int = 1,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int = 7,
    differences: bool = False,
    order: Literal["<", ">"] = "<",
    big: bool = False,
    photometric: int = 1,
) -> bytes:
    """Return a TIFF with the numbers (h, w, c) in a layout."""
    height, width, n = values.shape
    block = tile or (width, rows)
    stored_values = values.astype(values.dtype.newbyteorder(order))
    parts = []
    for part in blocks_of(stored_values, block, planar, tile is not None):
        if differences:
            native = part.astype(part.dtype.newbyteorder("="))
            native[:, 1:] -= native[:, :-1].copy()
            part = native.astype(stored_values.dtype)
        parts.append(compressed(part, COMPRESSIONS[compression]))
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    fields = {
        256: [width],
        257: [height],
        258: [8 * values.itemsize] * n,
        259: [compression],
        262: [photometric],
        277: [n],
    }
    fields |= {284: [2 if planar else 1], 317: [2 if differences else 1], 339: [kind] * n}
    fields |= {322: [block[0]], 323: [block[1]], 324: [], 325: []} if tile else {278: [rows], 273: [], 279: []}
    offsets_tag, sizes_tag = (324, 325) if tile else (273, 279)
    fields[sizes_tag], fields[offsets_tag] = [len(part) for part in parts], [0] * len(parts)
    word, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    base = (16 + 8 if big else 8 + 2) + entry * len(fields) + (8 if big else 4)
    wide = struct.calcsize(word)
    base_data = base + sum(wide * len(v) for v in fields.values() if len(v) > 1)
    fields[offsets_tag] = [base_data + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries, extra = b"", b""
    for tag, numbers in sorted(fields.items()):
        number_bytes = struct.pack(f"{order}{len(numbers)}{word}", *numbers)
        entries += struct.pack(f"{order}HH{word}", tag, 16 if big else 4, len(numbers))
        entries += number_bytes if len(numbers) == 1 else struct.pack(f"{order}{word}", base + len(extra))
        extra += number_bytes if len(numbers) > 1 else b""
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}2sHHHQ", mark, 43, 8, 0, 16) if big else struct.pack(f"{order}2sHI", mark, 42, 8)
    return head + struct.pack(f"{order}{count}", len(fields)) + entries + bytes(wide) + extra + b"".join(parts)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_bands_are_read_in_all_layouts(
    compression: int, planar: bool, tile: tuple[int, int] | None, order: Literal["<", ">"]
) -> None:
    for differences in (False, True):
        data = banded(BANDS, compression=compression, planar=planar, tile=tile, order=order, differences=differences)
        layout = read_layout(data)
        assert layout is not None
        assert (read_bands(data, layout, 1 << 30) == BANDS).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("big", [False, True])
def test_bands_of_all_types_are_read(dtype: type, big: bool) -> None:
    values: np.ndarray = noise(20, 18, 5).astype(dtype)
    data = banded(values, big=big)
    assert decoded_pixels(data, bands=[4, 0, 1], value_range=(0, 255)) == values[..., [4, 0, 1]].tolist()


def test_sentinel_2_is_decoded_by_its_bands() -> None:
    data = tiff(BANDS)
    with pytest.raises(ReadError, match=r"^has 13 channels without names; choose 1 or 3 by position"):
        decode(data)
    assert read_size(data) == (18, 20)
    expected = np.rint(np.minimum(BANDS[..., [3, 2, 1]] / 3000, 1) * 255).astype(int)
    assert decoded_pixels(data, bands=[3, 2, 1], value_range=(0, 3000)) == expected.tolist()
    picture = decode(data, Decoding(bands=(3, 2, 1), value_range=(0, 3000)))
    assert picture.info["featx_outside_range"] == (BANDS[..., 1:4].min(), BANDS[..., 1:4].max())


def test_settings_are_proposed_for_bands(tmp_path: Path) -> None:
    (tmp_path / "0.tif").write_bytes(tiff(BANDS))
    proposal = propose_decoding([str(tmp_path / "0.tif")])
    assert proposal.settings == {"bands": [0, 1, 2], "value_range": [0, 16383]}
    assert proposal.reasons["bands"].endswith("if they are bands of Sentinel-2, set [3, 2, 1]")


def test_colours_of_floats_are_read() -> None:
    colours = (noise(6, 7, 3) / np.float32(255)).astype(np.float32)
    assert decoded_pixels(tiff(colours)) == noise(6, 7, 3).tolist()


def test_near_infrared_beside_colours_can_be_chosen() -> None:
    values = noise(6, 7, 4)
    data = tiff(values, t338=(0,))
    assert decoded_pixels(data) == values[..., :3].tolist()
    assert decoded_pixels(data, bands=[3, 0, 1]) == values[..., [3, 0, 1]].tolist()


def test_the_orientation_of_bands_is_applied() -> None:
    values = noise(20, 18, 5)
    turned = np.rot90(values[..., :3], -1)
    assert decoded_pixels(tiff(values, t274=(6,)), bands=[0, 1, 2]) == turned.tolist()


def test_pages_of_bands_are_counted() -> None:
    data = tiff(noise(20, 18, 5))
    with pytest.raises(ReadError, match=r"^has 1 frames, expected frame 1 \(decoding\.frame counts from 0\)$"):
        decode(data, Decoding(frame=1, bands=(0,)))


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_truncated_bands_are_refused(compression: int) -> None:
    data = banded(BANDS, compression=compression)
    with pytest.raises(ReadError, match=r"^cannot be decoded: |^is not an image"):
        decode(data[: len(data) // 2], Decoding(bands=(0,), value_range=(0, 9)))


def test_bands_that_take_too_much_memory_are_refused() -> None:
    with pytest.raises(
        ReadError, match=r"^has 9360 bytes once decoded, expected at most 9359 \(decoding\.max_bytes\)$"
    ):
        decode(tiff(BANDS), Decoding(bands=(0,), max_bytes=9359))


def test_an_unsupported_compression_names_the_way_out() -> None:
    data = tiff(BANDS, t259=(34925,))
    reason = r"^is a TIFF with 13 channels of uint16, in compression 34925, which cannot be read; convert it to npy"
    with pytest.raises(ReadError, match=reason):
        decode(data, Decoding(bands=(0,)))
    assert TiffImagePlugin.COMPRESSION_INFO[34925] == "lzma"


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("bands", [None, (0,)])
def test_grey_in_which_0_is_white_is_refused_rather_than_read_inverted(
    dtype: type, bands: tuple[int, ...] | None
) -> None:
    content = banded(BANDS[..., :1].astype(dtype), photometric=0)
    with pytest.raises(ReadError, match="in which 0 is white, expected 0 for black"):
        decode(content, Decoding(bands=bands, value_range=(0, 10_000)))


def test_grey_of_8_bits_in_which_0_is_white_is_inverted() -> None:
    content = banded(noise(20, 18, 1), photometric=0)
    expected = np.broadcast_to(255 - noise(20, 18, 1), (20, 18, 3))
    for decoding in (Decoding(), Decoding(bands=(0,))):
        np.testing.assert_array_equal(np.asarray(decode(content, decoding).convert("RGB")), expected)
