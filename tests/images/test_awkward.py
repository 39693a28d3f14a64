"""A folder of awkward files: each ends in exactly the outcome that its row here says, and shifts no other's vector."""

import gzip
import io
import os
import re
import stat
import struct
import subprocess
import sys
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageChops, ImageCms

from featx import extract
from featx.embeddings.extract import Extraction
from featx.embeddings.files import embed_files
from featx.images.contents import MOST_BYTES, digest, text_of
from featx.specs.embedding import ResolvedEmbedding
from featx.study.study import Study
from tests.conftest import TOY_RECIPE
from tests.rows import row_alone, stored_rows

pillow_heif.register_heif_opener()  # so that HEIC can be written

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
PROGRESS = re.compile(r"^(read|disk space|try runtimes|embed) +━+ +\d+/\d+ +.*$")
Maker = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A file, how it is made, and what has to become of it."""

    name: str
    make: Maker
    outcome: str = "embedded"
    reason: str = ""


def own(path: Path) -> str:
    """Return the seed of a file's picture: its name, and not where the tests' folder happens to lie."""
    return "/".join(path.parts[-2:])


def picture(seed: str, mode: str = "RGB", size: tuple[int, int] = (20, 18)) -> Image.Image:
    """Return noise that no other seed gives."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(seed)))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def stored(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of(content: bytes) -> Maker:
    """Make a file of these bytes."""
    return lambda path: path.write_bytes(content)


def noise(kind: str, mode: str = "RGB", size: tuple[int, int] = (20, 18), **options: Any) -> Maker:
    """Make a picture of its own, seeded by its path."""
    return lambda path: path.write_bytes(stored(picture(own(path), mode, size), kind, **options))


def changed(kind: str, change: Callable[[bytes], bytes], mode: str = "RGB", **options: Any) -> Maker:
    """Make a picture of its own whose bytes are changed afterwards."""
    return lambda path: path.write_bytes(change(stored(picture(own(path), mode), kind, **options)))


def link(target: str) -> Maker:
    """Make a symbolic link."""
    return lambda path: path.symlink_to(target)


def node(kind: int) -> Maker:
    """Make a pipe or a socket."""
    return lambda path: os.mknod(path, kind | 0o600)


def frames(kind: str, **options: Any) -> Maker:
    """Make an animation or several pages."""

    def make(path: Path) -> None:
        first, *others = [picture(f"{own(path)}{number}", size=(24, 24)) for number in range(3)]
        path.write_bytes(stored(first, kind, save_all=True, append_images=others, **options))

    return make


def turned(orientation: int, kind: str) -> Maker:
    """Make one picture, laid down turned; its EXIF says how to turn it back."""
    laid = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation → the Transpose that lays it down

    def make(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = picture(f"upright {kind}", size=(24, 16))
        flat = upright.transpose(Image.Transpose(laid[orientation])) if orientation in laid else upright
        path.write_bytes(stored(flat, kind, exif=exif.tobytes()))

    return make


def chunk(name: bytes, body: bytes) -> bytes:
    """Return one PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, rows: bytes, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """Return a PNG written by hand."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body


def with_chunk(body: bytes) -> Callable[[bytes], bytes]:
    """Put something behind a PNG's header."""
    return lambda data: data[:33] + body + data[33:]


def flipped(at: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    """Flip all bits of the byte at a place that depends on the file."""

    def change(data: bytes) -> bytes:
        place = at(data)
        return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]

    return change


def zeroed(data: bytes) -> bytes:
    """Overwrite the pixels of a TIFF that begins with them."""
    return data[:9] + bytes(20) + data[29:]


def end_of_idat(data: bytes) -> int:
    """Return where the CRC of a PNG's pixels stands."""
    start = data.index(b"IDAT")
    return start + 4 + int.from_bytes(data[start - 4 : start], "big")


def without_adobe(data: bytes) -> bytes:
    """Take the Adobe segment out of a JPEG."""
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def cmyk_of_others(path: Path) -> None:
    """Make a CMYK JPEG that is not Adobe's: its values are as they are, where Adobe's are inverted."""
    inverted = ImageChops.invert(picture(own(path), "CMYK"))
    path.write_bytes(without_adobe(stored(inverted, "JPEG")))


def ycck(data: bytes) -> bytes:
    """Let the Adobe segment of a CMYK JPEG say that it is YCCK."""
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def tiff(values: np.ndarray) -> Maker:
    """Make a TIFF of numbers."""
    return lambda path: path.write_bytes(stored(Image.fromarray(values), "TIFF"))


def zipped(path: Path) -> None:
    """Make an archive that holds a picture."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.png", stored(picture("inside"), "PNG"))


def forbidden(path: Path) -> None:
    """Make a picture that nobody may read."""
    noise("PNG")(path)
    path.chmod(0)


def sparse(path: Path) -> None:
    """Make a file of more than a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


def turned_nan() -> np.ndarray:
    """Return floats of which one is no number."""
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
    Case("dog/cmyk-not-adobe.jpg", cmyk_of_others),
    Case("dog/ycck.jpg", changed("JPEG", ycck, mode="CMYK", subsampling=0)),
    Case("dog/16-bit.png", of(stored(Image.fromarray((RAMP * 1000).astype(np.uint16)), "PNG"))),
    Case("dog/16-bit.tif", tiff((RAMP * 900).astype(np.uint16))),
    Case("dog/16-bit-colour.png", of(png(1, 2, b"\0abcdef\0ghijkl", bits=16))),
    Case("dog/32-bit.tif", tiff((RAMP * 10_000).astype(np.int32))),
    Case("dog/float.tif", tiff((RAMP / 64).astype(np.float32))),
    Case("dog/float-negative.tif", tiff(((RAMP - 32.0) ** 3).astype(np.float32))),
    Case("dog/float-nan.tif", tiff(turned_nan()), "unreadable", "holds nan or infinity"),
    Case("dog/float-infinite.tif", tiff(np.full((4, 4), np.inf, np.float32)), "unreadable", "holds nan or infinity"),
    *(Case(f"cat/turned-{number}.png", turned(number, "PNG")) for number in range(1, 9)),
    *(Case(f"dog/turned-{number}.tiff", turned(number, "TIFF")) for number in range(1, 9)),
    Case("cat/turned-9-means-nothing.png", turned(9, "PNG")),
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
    Case("cat/profile-broken.png", changed("PNG", with_chunk(chunk(b"iCCP", b"icc\0\0not packed")))),
    Case("cat/exif-broken.jpg", noise("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fno tags")),
    Case("cat/exif-broken.png", noise("PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fno tags")),
    Case("cat/exif-broken.webp", noise("WEBP", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fno tags")),
    Case("cat/junk-behind.jpg", changed("JPEG", lambda data: data + b"junk" * 99)),
    Case("cat/junk-behind.png", changed("PNG", lambda data: data + b"junk" * 99)),
    Case("cat/crc-of-pixels.png", changed("PNG", flipped(end_of_idat))),
    Case("cat/fax-of-which-libtiff-complains.tif", changed("TIFF", zeroed, mode="1", compression="group4")),
]

BROKEN = [
    *(
        Case(f"cat/half.{ending}", changed(kind, lambda data: data[: len(data) * 6 // 10], **options), "unreadable")
        for ending, (kind, options) in SAVED.items()
    ),
    Case("dog/crc-of-header.png", changed("PNG", flipped(lambda data: 29)), "unreadable", NO_IMAGE),
    Case(
        "dog/pixels-broken.png", changed("PNG", flipped(lambda data: end_of_idat(data) - 99)), "unreadable", NO_DECODING
    ),
    Case("dog/no-pixels.png", of(png(0, 0, b"")), "unreadable", NO_IMAGE),
    Case("dog/bomb.png", of(png(60_000, 60_000, b"0" * 99)), "unreadable", "3600000000 pixels"),
    Case("dog/empty.png", of(b""), "unreadable", "is empty"),
    Case("dog/empty.jpg", of(b""), "unreadable", "is empty"),
    Case("dog/huge.png", sparse, "unreadable", "expected at most 1073741824"),
    Case("dog/zeros.jpg", of(bytes(5000)), "unreadable", NO_IMAGE),
    Case("dog/text.png", of(b"no picture"), "unreadable", NO_IMAGE),
    Case("dog/page.jpg", of(b"<!DOCTYPE html><title>404</title>"), "unreadable", NO_IMAGE),
    Case("dog/pdf.png", of(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), "unreadable", NO_IMAGE),
    Case("dog/packed.png", of(gzip.compress(stored(picture("packed"), "PNG"))), "unreadable", NO_IMAGE),
    Case("dog/signature.png", of(b"\x89PNG\r\n\x1a\n"), "unreadable"),
    Case("dog/signature.jpg", of(b"\xff\xd8\xff"), "unreadable"),
    Case("dog/junk-before.jpg", changed("JPEG", lambda data: b"junk" + data), "unreadable", NO_IMAGE),
    Case("dog/really-an-icon.png", noise("ICO"), "unreadable", NO_IMAGE),
    Case("dog/really-eps.jpg", noise("EPS"), "unreadable", NO_IMAGE),
    Case("dog/really-jpeg2000.jpg", noise("JPEG2000"), "unreadable", NO_IMAGE),
    Case("dog/pipe.png", node(stat.S_IFIFO), "unreadable", "is not a regular file"),
    Case("dog/socket.png", node(stat.S_IFSOCK), "unreadable", "is not a regular file"),
    Case("dog/device.png", link("/dev/zero"), "unreadable", "is not a regular file"),
    Case("dog/link-to-nothing.png", link("nowhere.png"), "unreadable", "is a link to nothing"),
    Case("dog/loop-a.png", link("loop-b.png"), "unreadable", "symbolic links"),
    Case("dog/loop-b.png", link("loop-a.png"), "unreadable", "symbolic links"),
    Case("dog/loop.png", link("loop.png"), "unreadable", "symbolic links"),
    Case("dog/link-to-text.png", link("text.png"), "unreadable", NO_IMAGE),
]
if os.geteuid():  # root may read everything
    BROKEN.append(Case("dog/forbidden.png", forbidden, "unreadable", "Permission denied"))

COPY = stored(picture("copied"), "PNG")
TORN = stored(picture("torn"), "PNG")
OTHERS = [
    Case("cat/png-called.jpg", noise("PNG")),
    Case("cat/jpeg-called.png", noise("JPEG")),
    Case("cat/UPPER.PNG", noise("PNG")),
    Case("cat/Mixed.JpEg", noise("JPEG")),
    Case("cat/double.png.jpg", noise("JPEG")),
    Case("cat/.hidden.png", noise("PNG"), "ignored", "is hidden"),
    Case("cat/._fork.jpg", of(b"\0\5\x16\7"), "ignored", "is hidden"),
    Case("cat/.png", noise("PNG"), "ignored", "is hidden"),
    Case("cat/.DS_Store", of(b"\0\0\0\1Bud1"), "ignored", "is hidden"),
    Case("cat/ending", noise("PNG"), "ignored", "its name has no ending"),
    Case("cat/dot.", noise("PNG"), "ignored", "its name has no ending"),
    Case("cat/space.png ", noise("PNG"), "ignored", "no image by its ending '.png '"),
    Case("cat/backup.png~", noise("PNG"), "ignored", "no image by its ending '.png~'"),
    Case("cat/half-loaded.png.part", noise("PNG"), "ignored", "no image by its ending '.part'"),
    Case("cat/Thumbs.db", of(b"\xd0\xcf\x11\xe0"), "ignored", "no image by its ending '.db'"),
    Case("cat/notes.txt", of(b"notes"), "ignored", "no image by its ending '.txt'"),
    Case("cat/labels.csv", of(b"path,class\n"), "ignored", "no image by its ending '.csv'"),
    Case("cat/drawing.svg", of(b"<svg/>"), "ignored", "no image by its ending '.svg'"),
    Case("cat/archive.zip", zipped, "ignored", "no image by its ending '.zip'"),
    Case("cat/pipe", node(stat.S_IFIFO), "ignored", "is not a regular file"),
    Case("cat/up", link(".."), "ignored", "a link to a folder is not followed"),
    Case("cat/up.png", link(".."), "ignored", "a link to a folder is not followed"),
    Case("cat/.git/object.png", noise("PNG"), "ignored", "a hidden folder is not looked into"),
    Case("cat/bare", lambda path: path.mkdir(), "ignored", "is an empty folder"),
    Case("cat/bare.png", lambda path: path.mkdir(), "ignored", "is an empty folder"),
    Case("cat/folder.png/inside.png", noise("PNG")),
    Case("cat/deep/deeper/deepest.png", noise("PNG")),
    Case("README.md", of(b"# read me"), "ignored", "no image by its ending '.md'"),
    Case("cat/copy-1.png", of(COPY)),
    Case("cat/copy-2.png", of(COPY), "duplicate", "of cat/copy-1.png"),
    Case("cat/copy-3.jpg", of(COPY), "duplicate", "of cat/copy-1.png"),
    Case("cat/link-to-copy.png", link("copy-1.png"), "duplicate", "of cat/copy-1.png"),
    Case("cat/torn.png", of(TORN)),
    Case("dog/torn.png", of(TORN), "duplicate", "of cat/torn.png"),
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
SEEN_AS = {"cat/.git/object.png": "cat/.git"}  # a folder that is not looked into is one entry


def write(folder: Path) -> None:
    """Make all files."""
    for case in CASES:
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        case.make(path)


def expected() -> dict[str, tuple[str, str]]:
    """Return what has to become of each file: id → outcome and a part of the reason."""
    return {text_of(SEEN_AS.get(case.name, case.name)): (case.outcome, case.reason) for case in CASES}


@dataclass(frozen=True)
class Ran:
    """The corpus after its first extraction."""

    recipe: Path
    done: Extraction
    study: Study


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Extract the corpus once for all tests here."""
    home = tmp_path_factory.mktemp("awkward")
    write(home / "images")
    recipe = home / "featx.toml"
    recipe.write_text(TOY_RECIPE + PLACES)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        done = extract(recipe)
        yield Ran(recipe, done, Study.open(recipe))


def found(study: Study) -> dict[str, tuple[str, str]]:
    """Return what became of each file."""
    table = study.outcomes
    assert table["id"].is_unique
    return {row.id: (row.outcome, row.reason) for row in table.itertuples()}


def test_there_are_many_cases_and_each_is_a_file_of_its_own() -> None:
    assert len(CASES) > 150
    assert len(expected()) == len(CASES)


def test_every_file_ends_in_exactly_its_outcome(ran: Ran) -> None:
    outcomes = found(ran.study)
    wanted = expected()
    assert set(outcomes) == set(wanted)
    wrong = {
        name: outcomes[name]
        for name, (outcome, reason) in wanted.items()
        if outcomes[name][0] != outcome or reason not in outcomes[name][1]
    }
    assert not wrong
    assert all(reason for outcome, reason in outcomes.values() if outcome not in {"embedded", "cached"})
    assert not any("0x" in reason or "\n" in reason for _, reason in outcomes.values())  # no addresses: runs compare


def test_the_counts_sum_to_what_was_found(ran: Ran) -> None:
    counts = Counter(case.outcome for case in CASES)
    named = ("embedded", "cached", "duplicate", "unreadable", "missing", "ignored")
    assert {name: getattr(ran.done, f"n_{name}") for name in named} == {name: counts[name] for name in named}
    assert ran.done.n_found == len(CASES)
    assert len(ran.done.failures) == counts["unreadable"]
    assert sum(ran.done.ignored.values()) == counts["ignored"]


def test_copies_with_different_labels_are_warned_of_by_name(ran: Ran) -> None:
    assert "1 images with copies have different labels, first 'cat/torn.png' and 'dog/torn.png'" in ran.done.warnings


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, as featx ignores them where pytest does not interfere
def test_each_row_is_its_own_images(ran: Ran) -> None:
    rows, alone = stored_rows(ran.study), row_alone(ran.study)
    assert [name for name, row in rows.items() if alone(name) != row] == []
    n_turned = sum("/turned-" in name for name in rows)  # they are two pictures
    assert len(set(rows.values())) == ran.done.n_embedded - n_turned + 2


@pytest.mark.parametrize("name", [LATIN, "dog/new\nline.png", "dog/cmyk.jpg", "cat/1x5000.png", "cat/format.heic"])
def test_a_file_embedded_alone_has_the_stored_vector_to_the_last_digits(ran: Ran, name: str) -> None:
    path = str(ran.recipe.parent / "images" / name)
    resolved = [
        ResolvedEmbedding(request=one.request, spec=one.spec, n_features=one.n_features) for one in ran.study.locked
    ]
    alone = embed_files([path], resolved, "cpu")
    assert not alone.unreadable
    (x,) = alone.columns.values()
    stored = np.frombuffer(stored_rows(ran.study)[text_of(name)], dtype="<f4")
    np.testing.assert_allclose(x[0], stored, rtol=1e-4, atol=1e-5)


def test_what_an_extraction_refuses_is_refused_alone_for_the_same_reason(ran: Ran) -> None:
    names = [case.name for case in BROKEN]
    paths = [str(ran.recipe.parent / "images" / name) for name in names]
    resolved = [
        ResolvedEmbedding(request=one.request, spec=one.spec, n_features=one.n_features) for one in ran.study.locked
    ]
    alone = embed_files(paths, resolved, "cpu")
    outcomes = found(ran.study)
    assert alone.unreadable == {path: outcomes[name][1] for path, name in zip(paths, names, strict=True)}


def test_one_picture_has_one_vector_however_it_lies(ran: Ran) -> None:
    rows = stored_rows(ran.study)
    for pattern in ("cat/turned-", "dog/turned-"):
        turned_rows = [row for name, row in rows.items() if name.startswith(pattern)]
        assert len(turned_rows) >= 8
        assert len(set(turned_rows)) == 1


def test_twins_of_other_unicode_forms_keep_their_own_rows(ran: Ran) -> None:
    first, second = (stored_rows(ran.study)[name] for name in E_ACUTE)
    assert first != second
    digests = dict(zip(ran.study.manifest.ids, ran.study.manifest.digests, strict=True))
    for name in E_ACUTE:
        assert digests[name] == digest((ran.recipe.parent / "images" / name).read_bytes())


def test_a_second_run_finds_the_same_and_does_nothing(ran: Ran) -> None:
    before = found(ran.study)
    cache = ran.recipe.parent / "cache"
    segments = {path: path.stat().st_mtime_ns for path in cache.glob("*.zarr/**/*")}

    again = extract(ran.recipe)

    assert (again.n_embedded, again.n_cached) == (0, ran.done.n_embedded)
    assert (again.n_unreadable, again.n_duplicate) == (ran.done.n_unreadable, ran.done.n_duplicate)
    after = found(Study.open(ran.recipe))
    assert after == {
        name: ("cached" if outcome == "embedded" else outcome, why) for name, (outcome, why) in before.items()
    }
    assert segments
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.zarr/**/*")} == segments


def test_the_command_says_nothing_but_its_progress(tmp_path: Path) -> None:
    write(tmp_path / "images")
    recipe = TOY_RECIPE.replace('backbone = "toy"\nweights = "none"', 'backbone = "efficientnet_lite0"\nsize_px = 32')
    (tmp_path / "featx.toml").write_text(recipe)
    command = [sys.executable, "-c", "from featx.cli.main import main; main()", "extract"]
    n_embedded = sum(case.outcome == "embedded" for case in CASES)
    for words, counts in ((["--json"], f'"n_embedded": {n_embedded},'), ([], f"{len(CASES)} files: 0 embedded")):
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, timeout=300, check=False)
        said = done.stderr.decode()
        assert done.returncode == 0, said
        assert [line for line in said.splitlines() if not PROGRESS.match(line)] == []
        assert counts in done.stdout.decode()
