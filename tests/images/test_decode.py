"""The decoding policy: pixels of each kind of file and array, and contents that are refused."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.errors import ReadError
from featx.images.decode import decode
from featx.specs.embedding import Decoding
from tests.image_files import decoded_greys, decoded_pixels, encode, noise, png_of_chunks

pillow_heif.register_heif_opener()  # so that tests can write HEIC
RED, WHITE = (255, 0, 0), (255, 255, 255)


def png(size: tuple[int, int], bits: int, colour: int, rows: bytes) -> bytes:
    """Return a PNG of a kind that Pillow reads but does not write."""
    head = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return png_of_chunks((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def without_adobe(data: bytes) -> bytes:
    """Return a JPEG without its Adobe segment."""
    start = data.index(b"\xff\xee")
    assert data[start + 4 : start + 9] == b"Adobe"
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def test_lossless_formats_keep_all_pixels() -> None:
    picture = noise(5, 7, 3)
    kinds: list[tuple[str, dict[str, Any]]] = [("PNG", {}), ("BMP", {}), ("DIB", {}), ("PPM", {}), ("TIFF", {})]
    kinds += [("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits")]
    kinds += [("WEBP", {"lossless": True}), ("PNG", {"icc_profile": b"no profile"})]
    for kind, options in kinds:
        assert decoded_pixels(encode(Image.fromarray(picture), kind, **options)) == picture.tolist()


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def turned(upright: np.ndarray, orientation: int, kind: str, **options: Any) -> bytes:
    """Return a file with rotated pixels, and the EXIF orientation that undoes the rotation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(TURNS[orientation](upright))
    return encode(Image.fromarray(pixels), kind, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = noise(5, 7, 3)
    options = {"lossless": True} if kind == "WEBP" else {}
    assert decoded_pixels(turned(upright, orientation, kind, **options)) == upright.tolist()


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("MPO", {"quality": 95, "subsampling": 0}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("HEIF", {"quality": 100, "chroma": 444}),
    ],
)
def test_the_orientation_of_lossy_formats_is_applied(kind: str, options: dict[str, Any], orientation: int) -> None:
    upright = np.zeros((32, 48, 3), dtype=np.uint8)  # whole blocks of 16, each of one colour: turning loses nothing
    upright[:16, :16], upright[:16, 32:], upright[16:, :32] = RED, (0, 255, 0), (0, 0, 255)
    decoded = np.asarray(decoded_pixels(turned(upright, orientation, kind, **options)))
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).max() <= 3


def test_grey_becomes_three_equal_channels() -> None:
    assert decoded_pixels(encode(Image.new("L", (1, 1), 77))) == [[[77, 77, 77]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    bits = Image.new("1", (9, 2), 0)
    bits.putpixel((8, 1), 1)
    assert decoded_greys(encode(bits, kind)) == [[0] * 9, [0] * 8 + [255]]


def test_two_and_four_bits_span_black_to_white() -> None:
    assert decoded_greys(png((4, 1), 2, 0, b"\0\x1b")) == [[0, 85, 170, 255]]
    assert decoded_greys(png((3, 1), 4, 0, b"\0\x08\xf0")) == [[0, 136, 255]]


def test_a_palette_becomes_its_colours() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 0), 1)
    assert decoded_pixels(encode(image)) == [[[0, 0, 0], [255, 0, 0]]]


@pytest.mark.parametrize(("background", "backdrop"), [("#ffffff", WHITE), ("#0a1464", (10, 20, 100))])
def test_transparent_pixels_show_the_background(background: str, backdrop: tuple[int, int, int]) -> None:
    image = Image.new("RGBA", (3, 1), (*RED, 0))
    image.putpixel((1, 0), (*RED, 255))
    image.putpixel((2, 0), (*RED, 51))
    fifth = [round(0.2 * front + 0.8 * back) for front, back in zip(RED, backdrop, strict=True)]
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert decoded_pixels(encode(image, kind, **options), background=background) == [
            [list(backdrop), list(RED), fifth]
        ]
    grey = Image.new("LA", (2, 1), (0, 0))
    grey.putpixel((1, 0), (9, 255))
    for kind in ("PNG", "TIFF"):
        assert decoded_pixels(encode(grey, kind), background=background) == [[list(backdrop), [9, 9, 9]]]


def test_white_is_the_default_background() -> None:
    assert decoded_pixels(encode(Image.new("LA", (1, 1), (0, 0)))) == [[list(WHITE)]]


@pytest.mark.parametrize(("background", "backdrop"), [("#ffffff", WHITE), ("#0a1464", (10, 20, 100))])
def test_a_transparent_colour_shows_the_background(background: str, backdrop: tuple[int, int, int]) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        data = encode(image, kind, transparency=0)
        assert decoded_pixels(data, background=background) == [[list(backdrop), list(RED)]]
    assert decoded_pixels(encode(image, transparency=b"\xff\x00"), background=background) == [
        [[0, 0, 0], list(backdrop)]
    ]
    assert decoded_pixels(encode(image.convert("RGB"), transparency=RED), background=background) == [
        [[0, 0, 0], list(backdrop)]
    ]


def test_sixteen_bit_grey_is_divided_by_257() -> None:
    levels = np.asarray([[0, 256, 257, 32896, 65535]], dtype=np.uint16)
    expected = [[0, 0, 1, 128, 255]]
    for kind in ("PNG", "TIFF"):
        assert decoded_greys(encode(Image.fromarray(levels), kind)) == expected
    big_endian = Image.frombytes("I;16B", (5, 1), levels.astype(">u2").tobytes())
    assert decoded_greys(encode(big_endian, "TIFF")) == expected


def test_sixteen_bit_colours_keep_the_upper_byte() -> None:
    colours = np.array([[0, 256, 257], [32896, 65535, 255]], dtype=">u2")
    assert decoded_pixels(png((2, 1), 16, 2, b"\0" + colours.tobytes())) == [[[0, 1, 1], [128, 255, 0]]]


def test_cmyk_is_converted() -> None:
    (decoded,) = decoded_pixels(encode(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"))[0]
    assert decoded == [255, 0, 0]


def test_a_cmyk_jpeg_is_decoded_with_and_without_adobes_marker() -> None:
    red, cyan = Image.new("CMYK", (16, 16), (0, 255, 255, 0)), Image.new("CMYK", (16, 16), (255, 0, 0, 255))
    adobe = encode(red, "JPEG", quality=95)
    assert np.abs(np.asarray(decoded_pixels(adobe)) - RED).max() <= 4
    # Adobe's values are inverted and others' are not: what Pillow writes for cyan and black is red in the other reading
    without_marker = without_adobe(encode(cyan, "JPEG", quality=95))
    assert np.abs(np.asarray(decoded_pixels(without_marker)) - RED).max() <= 4


def test_a_ycck_jpeg_has_its_colours() -> None:
    # Adobe's red as luma, two chromas and (inverted) key, under the marker that says so
    data = encode(Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255 - 1, 0)), "JPEG", quality=95, subsampling=0)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    ycck = data[:transform] + b"\2" + data[transform + 1 :]
    assert np.abs(np.asarray(decoded_pixels(ycck)) - RED).max() <= 6


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, (0, 0, 255))]
    for kind in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decoded_pixels(data) == [[list(RED)] * 2] * 2


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "MPO"])
def test_the_requested_frame_is_decoded(kind: str) -> None:
    colours = [RED, (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "MPO" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    for number, colour in enumerate(colours):
        assert np.abs(np.asarray(decoded_pixels(data, frame=number)) - colour).max() <= 2
    with pytest.raises(ReadError, match=r"^has 3 frames, expected frame 3 \(decoding\.frame counts from 0\)$"):
        decode(data, Decoding(frame=3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_single_picture_has_one_frame(kind: str) -> None:
    with pytest.raises(ReadError, match=r"^has 1 frames, expected frame 1 "):
        decode(encode(Image.new("RGB", (2, 2)), kind), Decoding(frame=1))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(
        ReadError,
        match=r"^is too large to be decoded \(Image size \(3600000000 pixels\) exceeds limit .*; reduce it, or cut",
    ):
        decode(png((60_000, 60_000), 8, 2, bytes(100)))


JPEGS: list[tuple[str, dict[str, Any]]] = [
    ("L", {}),
    ("RGB", {"subsampling": 0}),
    ("RGB", {"subsampling": 1}),
    ("RGB", {"subsampling": 2}),
    ("RGB", {"subsampling": 2, "progressive": True, "quality": 30}),
    ("L", {"progressive": True}),
    ("RGB", {"keep_rgb": True}),
    ("RGB", {"restart_marker_blocks": 2, "optimize": True}),
]


@pytest.mark.parametrize(("mode", "options"), JPEGS)
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (17, 1), (1, 33), (31, 100), (100, 31)])
def test_a_plain_jpeg_has_exactly_pillows_pixels(mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    data = encode(Image.fromarray(noise(size[1], size[0], 3)).convert(mode), "JPEG", **options)
    assert decoded_pixels(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tolist()


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_jpeg_has_pillows_pixels_or_is_refused(data: st.DataObject) -> None:
    mode, options = data.draw(st.sampled_from(JPEGS))
    content = bytearray(encode(Image.fromarray(noise(24, 40, 3)).convert(mode), "JPEG", **options))
    after_start_of_scan = content.index(b"\xff\xda") + 14
    for position in data.draw(st.lists(st.integers(after_start_of_scan, len(content) - 3), min_size=1, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    try:
        expected: Any = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).tolist()
    except (OSError, SyntaxError):
        expected = None
    try:
        decoded: Any = decoded_pixels(bytes(content))
    except ReadError:
        decoded = None
    assert decoded == expected


@pytest.mark.parametrize("size", [(400, 300), (301, 403), (64, 500), (40, 40)])
@pytest.mark.parametrize("required_px", [10, 16, 75, 1000])
def test_a_reduced_jpeg_keeps_twice_the_required_size(size: tuple[int, int], required_px: int) -> None:
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    data = encode(picture, "JPEG")
    reduced_image = decode(data, Decoding(reduced=True), required_px)
    assert min(reduced_image.size) >= min(*size, 2 * required_px)
    halved_size = [-(-side // 2) for side in size]
    assert (reduced_image.size == size) == (
        min(halved_size) < 2 * required_px
    )  # more than half is slower to decode than all
    assert reduced_image.size == size or max(reduced_image.size) <= max(halved_size)
    assert np.abs(np.asarray(reduced_image.resize(size), dtype=int) - np.asarray(picture)).mean() < 4


def test_jpegs_are_reduced_only_on_request() -> None:
    data = encode(Image.new("RGB", (400, 300)), "JPEG")
    assert decode(data, Decoding(), 10).size == decode(data, None, 10).size == (400, 300)
    assert decode(data, Decoding(reduced=True)).size == (400, 300)
    assert decode(data, Decoding(reduced=True), 10).size < (400, 300)
    assert decode(encode(Image.new("RGB", (400, 300))), Decoding(reduced=True), 10).size == (400, 300)


@pytest.mark.parametrize(("kind", "options"), [("HEIF", {"quality": 90}), ("AVIF", {"quality": 90})])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_and_avif_are_read(kind: str, options: dict[str, Any], mode: str) -> None:
    picture = Image.new("RGB", (64, 48), RED)
    picture.paste((0, 0, 200), (32, 0, 64, 48))
    decoded = np.asarray(decode(encode(picture.convert(mode), kind, **options)).convert("RGB"), dtype=int)
    expected = np.asarray(picture.convert(mode).convert("RGB"), dtype=int)
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected)[:, [*range(24), *range(40, 64)]].max() <= 8


def test_heic_without_its_extra_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (64, 48)), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as Python marks what cannot be imported
    with pytest.raises(ReadError, match=r'^is HEIC, which needs an extra: pip install "featx\[heic\]"$'):
        decode(data)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA", "JPEG2000", "SGI", "ICNS"])
def test_formats_that_are_not_for_photographs_are_refused(kind: str) -> None:
    data = encode(Image.new("RGB", (16, 16), RED), kind)
    assert Image.open(io.BytesIO(data)).format == kind
    with pytest.raises(ReadError, match=r"^is not an image of a known format$"):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "AVIF", "HEIF"])
def test_truncated_files_are_refused(kind: str) -> None:
    data = encode(Image.fromarray(noise(64, 64, 3)), kind)
    assert decode(data).size == (64, 64)
    with pytest.raises(ReadError, match=r"cannot be decoded: |is not an image"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"], ids=str)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ReadError, match=r"is not an image of a known format|cannot be decoded"):
        decode(data)


@pytest.mark.filterwarnings("ignore")  # Pillow's, which say less than the outcome does
@settings(max_examples=40)
@given(data=st.data(), kind=st.sampled_from(["PNG", "GIF", "BMP", "TIFF", "JPEG"]))
def test_a_damaged_file_is_decoded_or_refused(data: st.DataObject, kind: str) -> None:
    content = bytearray(encode(Image.new("RGB", (9, 9), RED), kind))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    try:
        outcome = decode(bytes(content)).mode
    except ReadError as error:
        outcome = str(error)
    assert outcome in {"L", "RGB"} or outcome.startswith(("is ", "has ", "holds ", "cannot be decoded: "))


def test_grey_contents_have_one_channel_and_others_three() -> None:
    grey = Image.fromarray(noise(24, 40))
    for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("TIFF", {}), ("BMP", {})):
        assert decode(encode(grey, kind, **options)).mode == "L"
        assert decode(encode(grey.convert("RGB"), kind, **options)).mode == "RGB"
    assert decode(encode(grey, "JPEG"), Decoding(reduced=True), 5).mode == "L"
    assert decode(turned(noise(24, 40), 6, "JPEG")).mode == "L"
    assert decode(noise(24, 40)).mode == decode(noise(24, 40, 1)).mode == "L"
    assert decode(noise(24, 40, 3)).mode == "RGB"
    assert decode(encode(Image.new("LA", (4, 4), (9, 128)))).mode == "RGB"
