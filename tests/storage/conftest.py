"""What tests of stores share: a disk or an object store, the command line's complaint, and a small disk."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from featx.cli.main import main

Complaint = Callable[..., str]
Mount = Callable[[str], None]


def exit_code(*words: str) -> int:
    """Run the command line in this process."""
    sys.argv = ["featx", *words]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Return a function that runs a command which fails, and returns its one line."""

    def line(*words: str) -> str:
        capsys.readouterr()
        assert exit_code(*words) == 1
        errors = capsys.readouterr().err
        (found,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in errors
        return found

    return line


@pytest.fixture
def small_disk(home: Path) -> Iterator[Mount]:
    """A file system of its own at ``disk/``; the function mounts it anew with other options, content kept."""
    place = home / "disk"
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no program that mounts")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.decode().strip()}")

    def again(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield again
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder for stores, and a prefix in a bucket."""
    if request.param == "disk":
        return str(tmp_path)
    return f"s3://{request.getfixturevalue('empty_bucket')}/cache"
