"""Unusual files of all kinds, and the outcome that each must have."""

import gzip
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageChops, ImageCms

from featx.images.contents import MAX_IMAGE_BYTES, unicode_name
from tests.image_files import encode

# Pillow cannot write HEIC without this plugin.
pillow_heif.register_heif_opener()

Maker = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One file and its expected outcome.

    Attributes
    ----------
    name
        Path below the folder of images.
    make
        Function that writes the file.
    outcome
        Expected outcome of the extraction.
    reason
        Text that the reason of the outcome must contain.
    """

    name: str
    make: Maker
    outcome: str = "embedded"
    reason: str = ""


def seed_of(path: Path) -> str:
    """Return the seed of a file's picture: its class folder and name."""
    return "/".join(path.parts[-2:])


def make_picture(seed: str, mode: str = "RGB", size: tuple[int, int] = (20, 18)) -> Image.Image:
    """Return noise that differs for each seed."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(seed)))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def file_of(content: bytes) -> Maker:
    """Return the maker of a file with these bytes."""
    return lambda path: path.write_bytes(content)


def noise(kind: str, mode: str = "RGB", size: tuple[int, int] = (20, 18), **options: Any) -> Maker:
    """Return the maker of a picture that is seeded by its path."""
    return lambda path: path.write_bytes(encode(make_picture(seed_of(path), mode, size), kind, **options))


def changed_picture(kind: str, change: Callable[[bytes], bytes], mode: str = "RGB", **options: Any) -> Maker:
    """Return the maker of a picture, seeded by its path, whose bytes are changed afterwards."""
    return lambda path: path.write_bytes(change(encode(make_picture(seed_of(path), mode), kind, **options)))


def link(target: str) -> Maker:
    """Return the maker of a symbolic link."""
    return lambda path: path.symlink_to(target)


def node(kind: int) -> Maker:
    """Return the maker of a pipe or a socket."""
    return lambda path: os.mknod(path, kind | 0o600)


def frames(kind: str, **options: Any) -> Maker:
    """Return the maker of an animation, or of several pages."""

    def make(path: Path) -> None:
        first, *later_pictures = [make_picture(f"{seed_of(path)}{number}", size=(24, 24)) for number in range(3)]
        path.write_bytes(encode(first, kind, save_all=True, append_images=later_pictures, **options))

    return make


def rotated(orientation: int, kind: str) -> Maker:
    """Return the maker of a rotated picture with the EXIF orientation that undoes the rotation."""
    # Transpose by EXIF orientation.
    transposes = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}

    def make(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = make_picture(f"upright {kind}", size=(24, 16))
        flat = upright.transpose(Image.Transpose(transposes[orientation])) if orientation in transposes else upright
        path.write_bytes(encode(flat, kind, exif=exif.tobytes()))

    return make


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Return one PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def encode_png(width: int, height: int, rows: bytes, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """Return a PNG of these chunks."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body


def insert_chunk(body: bytes) -> Callable[[bytes], bytes]:
    """Return a function that inserts bytes after a PNG's header."""
    return lambda data: data[:33] + body + data[33:]


def flip_byte(position: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    """Return a function that flips all bits of one byte at a position that depends on the file."""

    def change(data: bytes) -> bytes:
        start = position(data)
        return data[:start] + bytes([data[start] ^ 255]) + data[start + 1 :]

    return change


def zero_pixels(data: bytes) -> bytes:
    """Overwrite the pixels of a TIFF that begins with them."""
    return data[:9] + bytes(20) + data[29:]


def find_idat_crc(data: bytes) -> int:
    """Return the position of the CRC of a PNG's pixels."""
    start = data.index(b"IDAT")
    return start + 4 + int.from_bytes(data[start - 4 : start], "big")


def remove_adobe_segment(data: bytes) -> bytes:
    """Return a JPEG without its Adobe segment."""
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def write_cmyk_without_adobe(path: Path) -> None:
    """Write a CMYK JPEG without Adobe's marker: its values are not inverted."""
    inverted = ImageChops.invert(make_picture(seed_of(path), "CMYK"))
    path.write_bytes(remove_adobe_segment(encode(inverted, "JPEG")))


def mark_as_ycck(data: bytes) -> bytes:
    """Return a CMYK JPEG whose Adobe segment states YCCK."""
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\2" + data[transform + 1 :]


def tiff_file(values: np.ndarray) -> Maker:
    """Return the maker of a TIFF of numbers."""
    return lambda path: path.write_bytes(encode(Image.fromarray(values), "TIFF"))


def write_zip(path: Path) -> None:
    """Write an archive that holds a picture."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.png", encode(make_picture("inside"), "PNG"))


def write_forbidden(path: Path) -> None:
    """Write a picture without read permission."""
    noise("PNG")(path)
    path.chmod(0)


def write_sparse(path: Path) -> None:
    """Write a file of more than a gigabyte that uses no disk space."""
    with path.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)


def make_ramp_with_nan() -> np.ndarray:
    """Return floats, one of which is nan."""
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[3, 3] = np.nan
    return values


NO_IMAGE = "is not an image of a known format"
NO_DECODING = "cannot be decoded: "
RAMP = np.arange(64).reshape(8, 8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LATIN = os.fsdecode(b"dog/caf\xe9.png")
E_ACUTE = [unicodedata.normalize(form, "dog/été.png") for form in ("NFC", "NFD")]
SAVED = {
    "jpg": ("JPEG", {}),
    "jpeg": ("JPEG", {"quality": 20}),
    "jpe": ("JPEG", {"progressive": True}),
    "jfif": ("JPEG", {"subsampling": 0}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff": ("TIFF", {}),
    "avif": ("AVIF", {}),
    "heic": ("HEIF", {}),
    "heif": ("HEIF", {}),
    "ppm": ("PPM", {}),
    "pnm": ("PPM", {}),
}

FORMATS = [
    *(Case(f"cat/format.{ending}", noise(kind, **options)) for ending, (kind, options) in SAVED.items()),
    Case("cat/format.pgm", noise("PPM", "L")),
    Case("cat/format.pbm", noise("PPM", "1")),
    *(Case(f"dog/mode-{mode}.png", noise("PNG", mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    Case("dog/mode-transparent-palette.png", noise("PNG", "P", transparency=3)),
    Case("dog/mode-transparent.gif", noise("GIF", "P", transparency=3)),
    *(Case(f"dog/mode-{mode}.tif", noise("TIFF", mode)) for mode in ("1", "L", "P", "RGBA", "CMYK", "LAB", "YCbCr")),
    Case("dog/mode-alpha.webp", noise("WEBP", "RGBA", lossless=True)),
    Case("dog/grey.jpg", noise("JPEG", "L")),
    Case("dog/cmyk.jpg", noise("JPEG", "CMYK")),
    Case("dog/cmyk-not-adobe.jpg", write_cmyk_without_adobe),
    Case("dog/ycck.jpg", changed_picture("JPEG", mark_as_ycck, mode="CMYK", subsampling=0)),
    Case("dog/16-bit.png", file_of(encode(Image.fromarray((RAMP * 1000).astype(np.uint16)), "PNG"))),
    Case("dog/16-bit.tif", tiff_file((RAMP * 900).astype(np.uint16))),
    Case("dog/16-bit-colour.png", file_of(encode_png(1, 2, b"\0abcdef\0ghijkl", bits=16))),
    Case("dog/32-bit.tif", tiff_file((RAMP * 10_000).astype(np.int32)), "unreadable", "set decoding.value_range"),
    Case("dog/float.tif", tiff_file((RAMP / 64).astype(np.float32))),
    Case(
        "dog/float-negative.tif",
        tiff_file(((RAMP - 32.0) ** 3).astype(np.float32)),
        "unreadable",
        "holds values from -32768 to 29791 of float32",
    ),
    Case("dog/float-nan.tif", tiff_file(make_ramp_with_nan()), "unreadable", "holds nan or infinity"),
    Case(
        "dog/float-infinite.tif", tiff_file(np.full((4, 4), np.inf, np.float32)), "unreadable", "holds nan or infinity"
    ),
    *(Case(f"cat/turned-{number}.png", rotated(number, "PNG")) for number in range(1, 9)),
    *(Case(f"dog/turned-{number}.tiff", rotated(number, "TIFF")) for number in range(1, 9)),
    Case("cat/turned-9-means-nothing.png", rotated(9, "PNG")),
    Case("cat/1x1.png", noise("PNG", size=(1, 1))),
    Case("cat/1x5000.png", noise("PNG", size=(1, 5000))),
    Case("cat/5000x1.jpg", noise("JPEG", size=(5000, 1))),
    Case("cat/animated.gif", frames("GIF")),
    Case("cat/animated.webp", frames("WEBP")),
    Case("cat/animated.png", frames("PNG")),
    Case("cat/pages.tif", frames("TIFF")),
    Case("cat/several.jpg", frames("MPO")),
    Case("cat/profile.jpg", noise("JPEG", icc_profile=SRGB)),
    Case("cat/profile.png", noise("PNG", icc_profile=SRGB)),
    Case("cat/profile-broken.jpg", noise("JPEG", icc_profile=b"no profile at all")),
    Case("cat/profile-broken.png", changed_picture("PNG", insert_chunk(png_chunk(b"iCCP", b"icc\0\0not packed")))),
    Case("cat/exif-broken.jpg", noise("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fno tags")),
    Case("cat/exif-broken.png", noise("PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fno tags")),
    Case("cat/exif-broken.webp", noise("WEBP", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fno tags")),
    Case("cat/junk-behind.jpg", changed_picture("JPEG", lambda data: data + b"junk" * 99)),
    Case("cat/junk-behind.png", changed_picture("PNG", lambda data: data + b"junk" * 99)),
    Case("cat/crc-of-pixels.png", changed_picture("PNG", flip_byte(find_idat_crc))),
    Case(
        "cat/fax-of-which-libtiff-complains.tif", changed_picture("TIFF", zero_pixels, mode="1", compression="group4")
    ),
]

BROKEN = [
    *(
        Case(
            f"cat/half.{ending}",
            changed_picture(kind, lambda data: data[: len(data) * 6 // 10], **options),
            "unreadable",
        )
        for ending, (kind, options) in SAVED.items()
    ),
    Case("dog/crc-of-header.png", changed_picture("PNG", flip_byte(lambda data: 29)), "unreadable", NO_IMAGE),
    Case(
        "dog/pixels-broken.png",
        changed_picture("PNG", flip_byte(lambda data: find_idat_crc(data) - 99)),
        "unreadable",
        NO_DECODING,
    ),
    Case("dog/no-pixels.png", file_of(encode_png(0, 0, b"")), "unreadable", NO_IMAGE),
    Case(
        "dog/bomb.png",
        file_of(encode_png(60_000, 60_000, b"0" * 99)),
        "unreadable",
        "3600000000 pixels",
    ),
    Case("dog/empty.png", file_of(b""), "unreadable", "is empty"),
    Case("dog/empty.jpg", file_of(b""), "unreadable", "is empty"),
    Case("dog/huge.png", write_sparse, "unreadable", "expected at most 1073741824"),
    Case("dog/zeros.jpg", file_of(bytes(5000)), "unreadable", NO_IMAGE),
    Case("dog/text.png", file_of(b"no picture"), "unreadable", NO_IMAGE),
    Case("dog/page.jpg", file_of(b"<!DOCTYPE html><title>404</title>"), "unreadable", NO_IMAGE),
    Case("dog/pdf.png", file_of(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), "unreadable", NO_IMAGE),
    Case("dog/packed.png", file_of(gzip.compress(encode(make_picture("packed"), "PNG"))), "unreadable", NO_IMAGE),
    Case("dog/signature.png", file_of(b"\x89PNG\r\n\x1a\n"), "unreadable"),
    Case("dog/signature.jpg", file_of(b"\xff\xd8\xff"), "unreadable"),
    Case("dog/junk-before.jpg", changed_picture("JPEG", lambda data: b"junk" + data), "unreadable", NO_IMAGE),
    Case("dog/really-an-icon.png", noise("ICO"), "unreadable", NO_IMAGE),
    Case("dog/really-eps.jpg", noise("EPS"), "unreadable", NO_IMAGE),
    Case("dog/really-jpeg2000.jpg", noise("JPEG2000"), "unreadable", NO_IMAGE),
    Case("dog/pipe.png", node(stat.S_IFIFO), "unreadable", "is not a regular file"),
    Case("dog/socket.png", node(stat.S_IFSOCK), "unreadable", "is not a regular file"),
    Case("dog/device.png", link("/dev/zero"), "unreadable", "is not a regular file"),
    Case("dog/link-to-nothing.png", link("nowhere.png"), "unreadable", "is a broken link"),
    Case("dog/loop-a.png", link("loop-b.png"), "unreadable", "symbolic links"),
    Case("dog/loop-b.png", link("loop-a.png"), "unreadable", "symbolic links"),
    Case("dog/loop.png", link("loop.png"), "unreadable", "symbolic links"),
    Case("dog/link-to-text.png", link("text.png"), "unreadable", NO_IMAGE),
]


# Root may read everything.
if os.geteuid():
    BROKEN.append(Case("dog/forbidden.png", write_forbidden, "unreadable", "Permission denied"))


COPY = encode(make_picture("copied"), "PNG")
TORN = encode(make_picture("torn"), "PNG")
OTHERS = [
    Case("cat/png-called.jpg", noise("PNG")),
    Case("cat/jpeg-called.png", noise("JPEG")),
    Case("cat/UPPER.PNG", noise("PNG")),
    Case("cat/Mixed.JpEg", noise("JPEG")),
    Case("cat/double.png.jpg", noise("JPEG")),
    Case("cat/.hidden.png", noise("PNG"), "ignored", "is hidden"),
    Case("cat/._fork.jpg", file_of(b"\0\5\x16\7"), "ignored", "is metadata of macOS"),
    Case("cat/.png", noise("PNG"), "ignored", "is hidden"),
    Case("cat/.DS_Store", file_of(b"\0\0\0\1Bud1"), "ignored", "is hidden"),
    Case("cat/ending", noise("PNG"), "ignored", "its name has no suffix"),
    Case("cat/dot.", noise("PNG"), "ignored", "its name has no suffix"),
    Case("cat/space.png ", noise("PNG"), "ignored", "its suffix is '.png '"),
    Case("cat/backup.png~", noise("PNG"), "ignored", "its suffix is '.png~'"),
    Case("cat/half-loaded.png.part", noise("PNG"), "ignored", "is an incomplete or temporary file"),
    Case("cat/Thumbs.db", file_of(b"\xd0\xcf\x11\xe0"), "ignored", "is a cache of thumbnails of Windows"),
    Case("cat/notes.txt", file_of(b"notes"), "ignored", "its suffix is '.txt'"),
    Case("cat/labels.csv", file_of(b"path,class\n"), "ignored", "its suffix is '.csv'"),
    Case("cat/drawing.svg", file_of(b"<svg/>"), "ignored", "its suffix is '.svg'"),
    Case("cat/archive.zip", write_zip, "ignored", "its suffix is '.zip'"),
    Case("cat/pipe", node(stat.S_IFIFO), "ignored", "is not a regular file"),
    Case("cat/up", link(".."), "ignored", "is a link to a folder, which is not followed"),
    Case("cat/up.png", link(".."), "ignored", "is a link to a folder, which is not followed"),
    Case("cat/.git/object.png", noise("PNG"), "ignored", "is a hidden folder, which is not searched"),
    Case("cat/bare", lambda path: path.mkdir(), "ignored", "is an empty folder"),
    Case("cat/bare.png", lambda path: path.mkdir(), "ignored", "is an empty folder"),
    Case("cat/folder.png/inside.png", noise("PNG")),
    Case("cat/deep/deeper/deepest.png", noise("PNG")),
    Case("README.md", file_of(b"# read me"), "ignored", "its suffix is '.md'"),
    Case("cat/copy-1.png", file_of(COPY)),
    Case("cat/copy-2.png", file_of(COPY), "duplicate", "of cat/copy-1.png"),
    Case("cat/copy-3.jpg", file_of(COPY), "duplicate", "of cat/copy-1.png"),
    Case("cat/link-to-copy.png", link("copy-1.png"), "duplicate", "of cat/copy-1.png"),
    Case("cat/torn.png", file_of(TORN)),
    Case("dog/torn.png", file_of(TORN), "duplicate", "of cat/torn.png"),
]

NAMES = [
    *("dog/new\nline.png", "dog/tab\tstop.png", "dog/bell\a.png", "dog/return\r.png", "dog/escape\x1b[31m.png"),
    *("dog/'quoted'.png", 'dog/"quoted".png', "dog/`quoted`.png", "dog/with some  spaces.png", "dog/ first.png"),
    *("dog/😀🏳️‍🌈.png", "dog/漢字.png", "dog/\u202egnp.png", "dog/zero\u200bwidth.png", *E_ACUTE, LATIN),
    *(f"dog/{'x' * 246}.png", "dog/-rf.png", "dog/100%.png", "dog/a%20b.png", "dog/[a]*?.png", "dog/back\\slash.png"),
    *("dog/file:x.png", "dog/row:x.png", "dog/http:x.png", "dog/a!b.png", "dog/archive.zip!x.png", "dog/a#b?c=d.png"),
    *("dog/CON.png", "dog/$HOME.png", "dog/{a,b}.png", "dog/a;b.png", "dog/a,b.png", "dog/nan.png", "dog/1.png"),
]

CASES = [*FORMATS, *BROKEN, *OTHERS, *(Case(name, noise("PNG")) for name in NAMES)]
# A hidden folder is one entry.
REPORTED_NAMES = {"cat/.git/object.png": "cat/.git"}


def write_files(folder: Path) -> None:
    """Write the files of all cases below a folder."""
    for case in CASES:
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        case.make(path)


def expected_outcomes() -> dict[str, tuple[str, str]]:
    """Return the expected outcome of each file by id, and a part of the reason."""
    return {unicode_name(REPORTED_NAMES.get(case.name, case.name)): (case.outcome, case.reason) for case in CASES}
