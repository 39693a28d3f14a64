"""Digests of contents: unreadable files have a reason, and unchanged files are read only once.

Modules: images.contents, images.sqlite_cache.
"""

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import ReadError
from featx.files.atomic import file_state
from featx.images.contents import FileState, digest
from featx.images.digests import (
    DigestCache,
    ImageIdentity,
    has_settled,
    identify_image,
    identify_images,
    identify_with_cache,
)
from featx.images.sources import read_content
from tests.image_files import wait_until_settled


@given(st.binary())
def test_a_digest_is_128_bits_of_sha256(data: bytes) -> None:
    assert digest(data) == hashlib.sha256(data).hexdigest()[:32]


def test_equal_bytes_have_equal_digests(tmp_path: Path) -> None:
    for name, data in {"a.png": b"x", "b.jpg": b"x", "c.png": b"y"}.items():
        (tmp_path / name).write_bytes(data)
    first, second, third = (identify_image(str(tmp_path / name)) for name in ("a.png", "b.jpg", "c.png"))
    assert first == second == ImageIdentity(digest(b"x"))
    assert third.digest not in {"", first.digest}


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert identify_image(str(tmp_path / "gone.png")) == ImageIdentity("", "missing", "there is no such file")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_content(str(tmp_path / "gone.png"))


def test_an_empty_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert identify_image(str(tmp_path / "a.png")) == ImageIdentity("", "unreadable", "is empty")
    with pytest.raises(ReadError, match=r"^is empty$"):
        read_content(str(tmp_path / "a.png"))


def test_reading_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    code = "import sys, featx.images.digests; print(featx.images.digests.identify_image(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    # Reading the pipe would never end.
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert process.stdout.strip() == str(ImageIdentity("", "unreadable", "is not a regular file"))


def test_a_folder_or_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert identify_image(str(tmp_path / "folder.png")).reason == "is not a regular file"
    assert identify_image(str(tmp_path / "loop.png")).outcome == "unreadable"
    assert "symbolic links" in identify_image(str(tmp_path / "loop.png")).reason


def test_many_files_are_identified_in_order(tmp_path: Path) -> None:
    uris = [str(tmp_path / f"{number:03}.png") for number in range(150)]
    for number, uri in enumerate(uris):
        if number % 10:
            Path(uri).write_bytes(b"x" * number)
    assert list(identify_images(uris)) == [identify_image(uri) for uri in uris]
    assert [identity.outcome for identity in identify_images(uris)].count("missing") == 15


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three files whose digests may be cached."""
    uris = [str(tmp_path / f"{number}.png") for number in range(3)]
    for uri in uris:
        Path(uri).write_text(uri)
    wait_until_settled()
    return uris


def states(uris: list[str]) -> list[FileState | None]:
    return [None if (state := file_state(uri)) is None else state[1:] for uri in uris]


def identify_cached(
    uris: list[str], file_states: list[FileState | None], database: Path
) -> tuple[list[ImageIdentity], list[bool]]:
    """Return the identities of files, and whether each file was read."""
    with DigestCache(database) as cache:
        answers = list(identify_with_cache(uris, file_states, cache))
    return [identity for identity, _ in answers], [is_read for _, is_read in answers]


def test_a_digest_is_cached_while_the_file_is_unchanged(files: list[str], tmp_path: Path) -> None:
    database = tmp_path / "deep" / "digests.sqlite"
    first = identify_cached(files, states(files), database)
    assert first == ([identify_image(uri) for uri in files], [True] * 3)
    assert identify_cached(files, states(files), database) == (first[0], [False] * 3)
    Path(files[1]).write_text("longer than before, or shorter")
    os.utime(files[2])
    identities, were_read = identify_cached(files, states(files), database)
    assert were_read == [False, True, True]
    assert identities == [identify_image(uri) for uri in files]


def test_a_file_that_replaces_another_one_of_equal_size_and_mtime_is_read(files: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_text(files[0][::-1])
    os.utime(other, ns=(Path(files[0]).stat().st_mtime_ns,) * 2)
    identify_cached(files, states(files), tmp_path / "digests.sqlite")
    other.replace(files[0])
    identities, were_read = identify_cached(files, states(files), tmp_path / "digests.sqlite")
    assert were_read == [True, False, False]
    assert identities[0] == identify_image(files[0])


def test_unreadable_and_stateless_files_are_not_cached(files: list[str], tmp_path: Path) -> None:
    Path(files[0]).write_bytes(b"")
    wait_until_settled()
    file_states: list[FileState | None] = [*states(files)[:2], None]
    for _ in range(2):
        identities, were_read = identify_cached(files, file_states, tmp_path / "digests.sqlite")
        assert [identity.reason for identity in identities] == ["is empty", "", ""]
    assert were_read == [True, False, True]


def test_a_file_written_just_before_it_is_read_is_read_again(files: list[str], tmp_path: Path) -> None:
    far_ns = time.time_ns() + 60_000_000_001
    os.utime(files[0], ns=(far_ns, far_ns))
    identify_cached(files, states(files), tmp_path / "digests.sqlite")
    assert identify_cached(files, states(files), tmp_path / "digests.sqlite")[1] == [True, False, False]


@pytest.mark.parametrize(
    ("age_ns", "changed_ns", "is_settled"),
    [
        (50_000_000, 1_700_000_000_123_456_789, False),
        (150_000_000, 1_700_000_000_123_456_789, True),
        (150_000_000, 1_700_000_000_000_000_000, False),
        (1_200_000_000, 1_700_000_000_000_000_000, True),
    ],
    ids=["just written", "settled", "in a tick of whole seconds", "after such a tick"],
)
def test_a_file_has_settled_if_a_later_write_changes_its_time(age_ns: int, changed_ns: int, is_settled: bool) -> None:
    assert has_settled((1, changed_ns), changed_ns + age_ns) is is_settled


def test_an_interrupted_run_keeps_the_digests_read_so_far(files: list[str], tmp_path: Path) -> None:
    with DigestCache(tmp_path / "digests.sqlite") as cache:
        answers = identify_with_cache(files, states(files), cache)
        next(answers)
        answers.close()
    assert identify_cached(files, states(files), tmp_path / "digests.sqlite")[1] == [False, True, True]


def test_a_damaged_cache_is_created_again(files: list[str], tmp_path: Path) -> None:
    database = tmp_path / "digests.sqlite"
    identify_cached(files, states(files), database)
    database.write_bytes(b"this is no database" * 100)
    assert identify_cached(files, states(files), database)[1] == [True] * 3
    assert identify_cached(files, states(files), database)[1] == [False] * 3


def test_the_digest_of_an_array_ignores_byte_order_and_memory_layout() -> None:
    values = np.arange(6, dtype="<u2").reshape(2, 3)
    assert digest(values) == digest(values.astype(">u2")) == digest(np.asfortranarray(values))
    other_arrays = [values.reshape(3, 2), values.astype("<u4"), values.astype("<i2"), values[::-1]]
    assert len({digest(array) for array in [values, *other_arrays]}) == 5


def test_a_database_of_an_earlier_version_is_read_and_kept(files: list[str], tmp_path: Path) -> None:
    path = tmp_path / "digests.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE digests (uri TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest TEXT)")
    assert identify_cached(files, states(files), path)[1] == [True] * 3
    assert identify_cached(files, states(files), path)[1] == [False] * 3


def test_threads_open_a_damaged_database_together_and_write_to_it(tmp_path: Path) -> None:
    path = tmp_path / "digests.sqlite"

    def remember(number: int) -> None:
        with DigestCache(path) as cache:
            cache.remember([(f"{number}.png", (1, 1), "digest")])

    with ThreadPoolExecutor(8) as pool:
        for _ in range(60):
            path.write_bytes(b"SQLite format 3\0" + b"damaged" * 500)
            list(pool.map(remember, range(8)))
            with DigestCache(path) as cache:
                digests = list(cache.known([f"{number}.png" for number in range(8)], [(1, 1)] * 8))
            # A thread that has opened the damaged file before another one replaced it may lose what it remembered.
            assert set(digests) <= {"digest", None}
            assert "digest" in digests
