"""Metadata that does not stop an image, colour spaces of TIFF, and messages of decoders that stay off the terminal.

Modules: images.pillow_files.
"""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from featx.errors import ReadError
from featx.images.decode import decode, read_size
from tests.image_files import decoded_pixels, encode, noise, png16, png_of_chunks, tiff

N_TEXT_BYTES = 2 * PngImagePlugin.MAX_TEXT_CHUNK
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def split_png(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG."""
    chunks, position = [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def with_chunks(data: bytes, *chunks: tuple[bytes, bytes], after_pixels: bool = False) -> bytes:
    """Return a PNG with added chunks, before or after its pixels."""
    head, *body_chunks, end = split_png(data)
    return (
        png_of_chunks(head, *body_chunks, *chunks, end)
        if after_pixels
        else png_of_chunks(head, *chunks, *body_chunks, end)
    )


LARGE_METADATA = {
    "compressed text": (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(N_TEXT_BYTES))),
    "international text": (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(N_TEXT_BYTES))),
    "profile": (b"iCCP", b"p\0\0" + zlib.compress(bytes(N_TEXT_BYTES))),
}


@pytest.mark.parametrize("kind", LARGE_METADATA)
@pytest.mark.parametrize("after_pixels", [False, True])
def test_large_metadata_of_a_png_does_not_stop_the_image(kind: str, after_pixels: bool) -> None:
    values = noise(5, 7, 3)
    data = with_chunks(encode(Image.fromarray(values)), LARGE_METADATA[kind], after_pixels=after_pixels)
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(data)).load()
    assert decoded_pixels(data) == values.tolist()
    assert read_size(data) == (7, 5)


def test_many_texts_of_a_png_do_not_stop_the_image() -> None:
    values = noise(5, 7, 3)
    n_texts = PngImagePlugin.MAX_TEXT_MEMORY // (1 << 20) + 1
    texts = [(b"zTXt", b"c%d\0\0" % n + zlib.compress(bytes((1 << 20) - 9))) for n in range(n_texts)]
    data = with_chunks(encode(Image.fromarray(values)), *texts)
    with pytest.raises(ValueError, match="Too much memory used in text chunks"):
        Image.open(io.BytesIO(data)).load()
    assert decoded_pixels(data) == values.tolist()


def test_the_orientation_of_a_png_with_a_large_text_is_applied() -> None:
    values = noise(5, 7, 3)
    plain_png = with_chunks(encode(Image.fromarray(values)), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    expected = np.rot90(values, -1).tolist()
    assert decoded_pixels(plain_png) == expected
    assert decoded_pixels(with_chunks(plain_png, LARGE_METADATA["compressed text"])) == expected


def test_a_broken_png_with_a_text_is_refused() -> None:
    data = with_chunks(encode(Image.fromarray(noise(64, 64, 3))), LARGE_METADATA["compressed text"])
    with pytest.raises(ReadError, match=r"^cannot be decoded: "):
        decode(data[:-2000])


def test_an_interlaced_png_has_its_pixels() -> None:
    values = noise(9, 11, 3).astype(np.uint16) * 257
    assert decoded_pixels(png16(values, interlaced=True)) == noise(9, 11, 3).tolist()
    with pytest.raises(ReadError, match=r"^cannot be decoded: "):
        decode(png16(values, interlaced=True)[:-150])


def test_lab_and_ycbcr_are_converted() -> None:
    # The middle grey of CIELAB has L = 53.6 %, and its red L = 53.2 %, a = 80, b = 67.
    lab = np.array([[[137, 0, 0], [136, 80, 67], [255, 0, 0]]], dtype=np.uint8)
    decoded = np.asarray(decoded_pixels(tiff(lab, t262=(8,))))
    # Pillow converts from the white of D50, and the values above are those of D65.
    assert np.abs(decoded - [[[128] * 3, [255, 0, 0], [255] * 3]]).max() <= 12
    colours = Image.new("RGB", (16, 16), (200, 30, 60))
    data = encode(colours.convert("YCbCr"), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "YCbCr"
    assert np.abs(np.asarray(decoded_pixels(data)) - (200, 30, 60)).max() <= 2


SCRIPT = """
import logging, sys, warnings
from pathlib import Path
from featx.errors import ReadError
from featx.images.decode import decode, read_size
for path in sys.argv[1:]:
    for read in (decode, read_size):
        try:
            read(Path(path).read_bytes())
        except ReadError as error:
            assert "\\n" not in str(error)
"""


def test_decoders_write_nothing_to_the_terminal(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(64, 64, 3))
    files = {
        "bands.tif": tiff(noise(16, 18, 13)),  # Pillow logs that it cannot decode so many samples
        "palette.png": encode(Image.new("P", (2, 2)), transparency=b"\x00" * 9),
        "exif.jpg": encode(picture, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
        "half.jpg": encode(picture, "JPEG")[:1500],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "default", "-c", SCRIPT, *(str(tmp_path / name) for name in files)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
