"""Small files that state or unpack to a large size: refused by their headers, in a process with limited memory.

Modules: images.archives, images.array_files, images.npy, images.unpacking.
"""

import gzip
import io
import json
import lzma
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from featx.errors import DataError, ReadError
from featx.images import unpacking
from featx.images.archives import open_archive
from featx.images.array_files import open_datasets
from featx.images.arrays import read_row
from featx.images.decode import decode
from featx.specs.embedding import Decoding, EmbeddingRequest

MIB = 1 << 20
# Program for a subprocess: it prints the outcome of a uri, and the memory in bytes that reading it takes.
MEASURE = """
import json, resource, sys
import featx.images.digests, featx.images.sources
from featx.images.decode import decode
from featx.images import archives, arrays, annotations
from featx.specs.embedding import Decoding
uri, limit, max_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
identity = featx.images.digests.identify_image(uri)
reason = identity.reason
if not reason and max_bytes:
    try:
        decode(featx.images.sources.read_content(uri), Decoding(max_bytes=max_bytes))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(json.dumps([identity.outcome, reason, peak]))
"""


def measure(uri: str, limit: int = 2048 * MIB, max_bytes: int = 0) -> tuple[str, str, int]:
    """Return an image's outcome, the reason, and the memory in bytes that reading it took."""
    command = [sys.executable, "-c", MEASURE, uri, str(limit), str(max_bytes)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    outcome, reason, peak = json.loads(process.stdout)
    return outcome, reason, peak


def npy(shape: tuple[int, ...], content: bytes = b"", dtype: str = "|u1") -> bytes:
    """Return an npy file that states a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def npz(path: Path, content: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", content)
    return f"row:{path}//x/0"


def sparse_tar(folder: Path, link: Callable[[Path, Path], None]) -> Path:
    """Return a tar of a few kilobytes with a member of 8 GiB and a link to it."""
    if shutil.which("tar") is None:
        pytest.skip("needs GNU tar")
    (folder / "in").mkdir()
    with (folder / "in" / "large.png").open("wb") as file:
        file.truncate(8 << 30)
    link(folder / "in" / "link.png", folder / "in" / "large.png")
    subprocess.run(["tar", "-S", "-cf", folder / "a.tar", "-C", folder / "in", "large.png", "link.png"], check=True)
    assert (folder / "a.tar").stat().st_size < 20_000
    return folder / "a.tar"


@pytest.mark.parametrize("member", ["link.png", "large.png"])
@pytest.mark.parametrize(
    "link", [lambda a, b: a.symlink_to(b.name), lambda a, b: a.hardlink_to(b)], ids=["sym", "hard"]
)
def test_a_link_to_a_sparse_member_has_the_size_of_its_target(
    member: str, link: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    outcome, reason, peak = measure(f"member:{sparse_tar(tmp_path, link)}//{member}")
    assert (outcome, reason) == ("unreadable", f"has {8 << 30} bytes, expected at most {1 << 30} for one image")
    assert peak < 50 * MIB


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npy((30_000_000_000,)), "needs 30000000000 bytes, found 0"),
        (npy((3, 10_000, 1_000_000)), "needs 30000000000 bytes, found 0"),
        (npy((-1, 8, 8), bytes(64)), "expected no negative lengths"),
        (npy((-1, -64), bytes(64)), "expected no negative lengths"),
        (npy((10**30, 8, 8)), "bytes, found 0"),
        (npy((8,), bytes(64), "|O"), "holds Python objects"),
        (npy((8,), bytes(64), "|a8"), "its header names a deprecated type"),
        (npy((4, 4), bytes(17)), "needs 16 bytes, found 17"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "EOF"),
        (b"\x93NUMPY\x09\x00\x00\x00", ""),
    ],
    ids=["row", "rows", "negative", "negatives", "overflow", "objects", "deprecated", "more", "header", "version"],
)
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_an_array_whose_header_exceeds_its_file_is_refused(
    content: bytes, expected: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    uri = npz(path, content) if kind == "npz" else f"row:{path}///0"
    if kind == "npy":
        path.write_bytes(content)
    with pytest.raises(ReadError, match="cannot be read as arrays") as error_info:
        open_datasets(path)
    assert expected in str(error_info.value)
    if "30000000000" in expected:
        outcome, _, peak = measure(uri)
        assert outcome == "unreadable"
        assert peak < 50 * MIB


def test_an_annotation_whose_header_exceeds_its_file_is_refused(tmp_path: Path) -> None:
    import featx

    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}_class.npy").write_bytes(npy((30_000_000_000,)))
    with pytest.raises(DataError, match=r"annotation '0_class.npy' cannot be read: .*needs 30000000000 bytes, found 0"):
        featx.init(str(tmp_path))


def bomb(path: Path) -> None:
    """Pack 120 MiB of zeros into an archive or array file."""
    zeros = bytes(120 * MIB)
    idx = b"\0\0\x08\x03" + np.array([120, 1024, 1024], ">u4").tobytes()
    if path.suffix == ".npz":
        npz(path, npy((120, 1024, 1024), zeros))
    elif path.name.startswith("train"):
        path.write_bytes(gzip.compress(idx + zeros, 1))
    else:
        with tarfile.open(path, f"w:{path.suffix[1:]}") as file:
            info = tarfile.TarInfo("0.png")
            info.size = len(zeros)
            file.addfile(info, io.BytesIO(zeros))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.npz", "train-images-idx3-ubyte.gz"])
def test_unpacking_keeps_the_reserved_disk_space_free(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb(tmp_path / name)
    free_bytes = shutil.disk_usage(unpacking.tempfile.gettempdir()).free
    monkeypatch.setattr(unpacking, "MIN_FREE_BYTES", free_bytes - 40 * MIB)
    with pytest.raises(DataError, match=r"bytes or more once unpacked, .* has space for \d+ .*set \$TMPDIR"):
        (open_archive if "tar" in name else open_datasets)(
            tmp_path / name if "tar" not in name else str(tmp_path / name)
        )  # type: ignore[operator]
    assert shutil.disk_usage(unpacking.tempfile.gettempdir()).free > free_bytes - 200 * MIB


def test_an_xz_file_that_asks_for_a_large_dictionary_is_refused(tmp_path: Path) -> None:
    xz_content = bytearray(lzma.compress(bytes(100)))
    # The block header begins at 12: size, flags, filter 0x21, 1 byte of properties: the dictionary's size.
    size = (xz_content[12] + 1) * 4
    assert xz_content[14:16] == b"\x21\x01"
    xz_content[16] = 39  # 3 GiB
    xz_content[12 + size - 4 : 12 + size] = zlib.crc32(xz_content[12 : 12 + size - 4]).to_bytes(4, "little")
    (tmp_path / "a.tar.xz").write_bytes(xz_content)
    with pytest.raises(DataError, match=r"cannot be read as an archive, .*Memory usage limit exceeded"):
        open_archive(str(tmp_path / "a.tar.xz"))


def test_xz_files_of_several_streams_and_paddings_are_read(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(3 * MIB)
    parts = [content[:MIB], b"", content[MIB:]]
    path = tmp_path / "a.xz"
    path.write_bytes(b"\0\0\0\0".join(map(lzma.compress, parts)))
    assert b"".join(unpacking.UNPACKERS[".xz"](str(path))) == content
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EOFError, match="ends before the end"):
        list(unpacking.UNPACKERS[".xz"](str(path)))


@pytest.mark.parametrize(
    ("shape", "chunks", "expected"),
    [
        ((4, 20_000, 20_000, 4), (1, 64, 64, 4), "has 1600000000 bytes, expected at most"),
        ((5_000, 1024, 1024), (3_000, 1024, 1024), "has 3145728000 bytes, expected at most"),
    ],
    ids=["row", "chunk"],
)
def test_a_row_of_hdf5_that_is_too_large_is_not_read(
    shape: tuple[int, ...], chunks: tuple[int, ...], expected: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape, "u1", chunks=chunks, compression="gzip")
    outcome, reason, peak = measure(f"row:{tmp_path / 'a.h5'}//x/0")
    assert (outcome, expected in reason) == ("unreadable", True)
    assert peak < 50 * MIB
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", (1, 8, 8), h5py.string_dtype())
    with pytest.raises(ReadError, match="holds object, expected numbers"):
        read_row(f"{tmp_path / 'b.h5'}//x/0")


@pytest.mark.parametrize("labels", [(10**12,), (8, 10**9)])
def test_datasets_that_state_too_many_rows_are_refused(labels: tuple[int, ...], tmp_path: Path) -> None:
    import featx

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (labels[0], 8, 8), "u1", chunks=(1, 8, 8))
        file.create_dataset("y", labels, "u1", chunks=(1, *labels[1:2])[: len(labels)])
    recipe = tmp_path / "featx.toml"
    arrays = '[[data.arrays]]\nimages = "a.h5#x"\nlabels = { y = "a.h5#y" }\n'
    targets = '[targets.y]\ncolumn = "y"\n[[embedding]]\nbackbone = "toy"\nweights = "none"\n'
    recipe.write_text('[data]\nsource = "a.h5"\nreader = "arrays"\n' + arrays + targets)
    with pytest.raises(DataError, match=r"states 1000000000000 rows, its file has|has 8000000000 bytes, expected at"):
        featx.extract(recipe)


def picture(mode: str, side: int) -> tuple[bytes, int]:
    """Return a small file of a large picture, and the bytes of its pixels in memory."""
    file = io.BytesIO()
    kind = "TIFF" if mode in {"F", "I;16", "CMYK"} else "PNG"
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    Image.new(mode, (side, side)).save(file, kind, **options)
    return file.getvalue(), side * side * {"I;16": 2, "L": 1, "P": 1}.get(mode, 4)


@pytest.mark.parametrize("mode", ["F", "I;16", "CMYK", "RGB", "RGBA", "LA", "L", "P"])
def test_decoding_takes_at_most_four_times_the_pixels(mode: str, tmp_path: Path) -> None:
    content, n_bytes = picture(mode, 6000)
    (tmp_path / "a.img").write_bytes(content)
    assert len(content) < 2 * MIB
    outcome, reason, peak = measure(str(tmp_path / "a.img"), max_bytes=n_bytes)
    assert (outcome, reason) == ("", "")
    assert peak < 4 * max(n_bytes, 36_000_000 * (1 if mode in {"L", "I;16"} else 4)) + 30 * MIB
    outcome, reason, peak = measure(str(tmp_path / "a.img"), max_bytes=n_bytes - 1)
    assert reason == f"ReadError: has {n_bytes} bytes once decoded, expected at most {n_bytes - 1} (decoding.max_bytes)"
    assert peak < 20 * MIB


@pytest.mark.parametrize("dtype", ["f4", "f8", "b1", "u2"])
def test_the_memory_limit_applies_to_arrays(dtype: str) -> None:
    values = np.zeros((100, 100), dtype)
    assert decode(values, Decoding(max_bytes=values.nbytes)).size == (100, 100)
    with pytest.raises(ReadError, match=rf"has {values.nbytes} bytes once decoded, expected at most"):
        decode(values, Decoding(max_bytes=values.nbytes - 1))


def tiled_tiff(tile_side: int) -> bytes:
    """Return a picture of 16 × 16 px in one deflated tile."""
    compressed = zlib.compress(bytes(256))
    tags = {
        256: 16,
        257: 16,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: tile_side,
        323: tile_side,
        324: 8,
        325: len(compressed),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(compressed))
        + compressed
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def test_a_tiff_with_a_tile_larger_than_all_memory_is_refused(tmp_path: Path) -> None:
    assert decode(tiled_tiff(16)).size == (16, 16)
    with pytest.raises(ReadError, match="has 14400000000 bytes once decoded, expected at most"):
        decode(tiled_tiff(60_000))


@pytest.mark.parametrize("kind", ["file", "member", "row"])
def test_insufficient_memory_is_an_outcome(kind: str, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(200 * MIB)
    if kind == "member":
        with tarfile.open(tmp_path / "a.tar", "w") as file:
            info = tarfile.TarInfo("0.png")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        uri = f"member:{tmp_path / 'a.tar'}//0.png"
    elif kind == "row":
        np.save(tmp_path / "a.npy", np.frombuffer(content, np.uint8).reshape(1, 200, MIB))
        uri = f"row:{tmp_path / 'a.npy'}///0"
    else:
        (tmp_path / "0.png").write_bytes(content)
        uri = str(tmp_path / "0.png")
    outcome, reason, _ = measure(uri, limit=50 * MIB)
    assert outcome == "unreadable"
    assert "Memory" in reason or "allocate" in reason


def test_the_memory_limit_is_not_part_of_the_fingerprint() -> None:
    small, usual = (EmbeddingRequest(decoding=decoding) for decoding in (Decoding(max_bytes=1000), Decoding()))
    assert small.fingerprint() == usual.fingerprint()
    assert small != usual
