"""Directories of zip files: they are read as `zipfile` reads them, or left to it.

Modules: images.containers.zip_directory.
"""

import io
import random
import struct
import zipfile
from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.containers.archive_files import ZipArchive, make_archive
from featx.images.containers.zip_directory import EMPTY_ZIP, END, END64, END64_MARK, LOCATOR_MARK, read_directory

FILES = {"cat/0.png": b"first", "dog/": b"", "dog/a b.png": b"x" * 1000, "deep/er/2.jpg": b""}
FIELDS = ("flag_bits", "compress_type", "CRC", "compress_size", "file_size", "header_offset", "orig_filename")


def write(comment: bytes = b"", method: int = zipfile.ZIP_DEFLATED, files: dict[str, bytes] = FILES) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.comment = comment
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def write_large_end(content: bytes) -> bytes:
    """Return a zip with the end that archives of more than 65,535 members have."""
    _, n, size, start, _ = END.unpack_from(content, len(content) - END.size)
    end64 = END64.pack(END64_MARK, n, size, start)
    locator = struct.pack("<4sLQL", LOCATOR_MARK, 0, start + size, 1)
    return content[: -END.size] + end64 + locator + END.pack(b"PK\5\6", 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("has_large_end", [False, True])
def test_a_directory_equals_that_of_zipfile(has_large_end: bool, method: int) -> None:
    content = write_large_end(write(method=method)) if has_large_end else write(method=method)
    directory = read_directory(io.BytesIO(content))
    assert directory is not None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert list(directory.problems) == archive.namelist()
        for info in archive.infolist():
            directory_info = directory.info(info.filename)
            assert [getattr(directory_info, field) for field in FIELDS] == [getattr(info, field) for field in FIELDS]
    zip_archive = ZipArchive("a.zip", io.BytesIO(content))
    assert {name: zip_archive.read(name) for name in ("cat/0.png", "dog/a b.png")} == {
        name: FILES[name] for name in ("cat/0.png", "dog/a b.png")
    }
    assert b"".join(zip_archive.chunks("dog/a b.png")) == FILES["dog/a b.png"]
    assert list(zip_archive.members()) == ["cat/0.png", "dog/a b.png", "deep/er/2.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        write(comment=b"made by hand"),
        b"#!/bin/sh\n" + write(),
        write(files={"é.png": b"accent", "cat/0.png": b"first"}),
    ],
    ids=["comment", "prefix", "accents"],
)
def test_unusual_archives_are_left_to_zipfile(content: bytes) -> None:
    assert read_directory(io.BytesIO(content)) is None
    zip_archive = ZipArchive("a.zip", io.BytesIO(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert zip_archive.read("cat/0.png") == b"first"
        assert list(zip_archive.members()) == [name for name in archive.namelist() if not name.endswith("/")]


@pytest.mark.parametrize("n_bytes", [0, 10, 21, 60, 150])
def test_damaged_archives_are_left_to_zipfile_and_reported(n_bytes: int, tmp_path: Path) -> None:
    content = write()
    (tmp_path / "a.zip").write_bytes(content[:n_bytes])
    assert read_directory(io.BytesIO(content[:n_bytes])) is None
    with pytest.raises(DataError, match=r"a\.zip cannot be read as an archive, it may be truncated: "):
        make_archive("a.zip", str(tmp_path / "a.zip"))


def test_a_directory_with_damaged_records_is_left_to_zipfile() -> None:
    content = bytearray(write())
    content[content.index(b"PK\1\2") + 3] = 9
    assert read_directory(io.BytesIO(bytes(content))) is None
    with pytest.raises(DataError, match="Bad magic number for central directory"):
        make_archive("a.zip", "a.zip", io.BytesIO(bytes(content)))


def test_an_empty_archive_and_a_missing_member_are_read_as_such() -> None:
    zip_archive = ZipArchive("a.zip", io.BytesIO(EMPTY_ZIP))
    assert zip_archive.members() == {}
    with pytest.raises(KeyError, match="cat"):
        zip_archive.read("cat.png")


def damage(rng: random.Random, content: bytes) -> bytes:
    """Change a byte, more often near the end, where the directory is; or cut the file short, or extend it."""
    damaged_content = bytearray(content)
    action = rng.randrange(4)
    if action == 0:
        damaged_content[rng.randrange(len(damaged_content))] = rng.randrange(256)
    elif action == 1:
        damaged_content[-1 - rng.randrange(min(160, len(damaged_content)))] = rng.choice(
            (0, 1, 255, rng.randrange(256))
        )
    elif action == 2:
        del damaged_content[rng.randrange(1, len(damaged_content)) :]
    else:
        damaged_content += bytes(rng.randrange(1, 30))
    return bytes(damaged_content)


def test_a_directory_read_after_damage_is_that_of_zipfile() -> None:
    rng, n_read = random.Random(0), 0
    originals = [write(), write(method=zipfile.ZIP_STORED), write_large_end(write())]
    for _ in range(3_000):
        content = damage(rng, rng.choice(originals))
        directory = read_directory(io.BytesIO(content))
        if directory is None:
            continue
        infos = zipfile.ZipFile(io.BytesIO(content)).infolist()
        n_read += 1
        assert list(directory.positions) == [info.filename for info in infos]
        for info in infos:
            directory_info = directory.info(info.filename)
            assert [getattr(directory_info, field) for field in FIELDS] == [getattr(info, field) for field in FIELDS]
    assert n_read > 1_000
