import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import ReadError
from featx.images.digests import Identity, digest, identify, identify_all, read_bytes


@given(st.binary())
def test_a_digest_is_128_bits_of_sha256(data: bytes) -> None:
    assert digest(data) == hashlib.sha256(data).hexdigest()[:32]


def test_equal_bytes_are_one_image_whatever_their_names(tmp_path: Path) -> None:
    for name, data in {"a.png": b"x", "b.jpg": b"x", "c.png": b"y"}.items():
        (tmp_path / name).write_bytes(data)
    one, two, three = (identify(str(tmp_path / name)) for name in ("a.png", "b.jpg", "c.png"))
    assert one == two == Identity(digest(b"x"))
    assert three.digest not in {"", one.digest}


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert identify(str(tmp_path / "gone.png")) == Identity("", "missing", "there is no such file")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_bytes(str(tmp_path / "gone.png"))


def test_an_empty_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert identify(str(tmp_path / "a.png")) == Identity("", "unreadable", "is empty")
    with pytest.raises(ReadError, match=r"^is empty$"):
        read_bytes(str(tmp_path / "a.png"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    code = "import sys; from featx.images.digests import identify; print(identify(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60
    )  # a reader would wait for ever
    assert done.stdout.strip() == str(Identity("", "unreadable", "is not a regular file"))


def test_a_folder_or_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert identify(str(tmp_path / "folder.png")).reason == "is not a regular file"
    assert identify(str(tmp_path / "loop.png")).outcome == "unreadable"
    assert "symbolic links" in identify(str(tmp_path / "loop.png")).reason


def test_many_files_are_identified_in_the_order_asked_for(tmp_path: Path) -> None:
    uris = [str(tmp_path / f"{number:03}.png") for number in range(150)]
    for number, uri in enumerate(uris):
        if number % 10:
            Path(uri).write_bytes(b"x" * number)
    assert list(identify_all(uris)) == [identify(uri) for uri in uris]
    assert [identity.outcome for identity in identify_all(uris)].count("missing") == 15
