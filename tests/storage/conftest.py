"""Fixtures for tests of stores: a folder or a bucket, commands that must fail, and a small disk."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from featx.cli.main import main

FailingCommand = Callable[..., str]
Mount = Callable[[str], None]


def exit_code(*words: str) -> int:
    """Run the command line in this process and return its exit code."""
    sys.argv = ["featx", *words]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def fail_command(capsys: pytest.CaptureFixture[str]) -> FailingCommand:
    """Return a function that runs a command that must fail, and returns its error line."""

    def line(*words: str) -> str:
        capsys.readouterr()
        assert exit_code(*words) == 1
        errors = capsys.readouterr().err
        (error_line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in errors
        return error_line

    return line


@pytest.fixture
def small_disk(home: Path) -> Iterator[Mount]:
    """Mount a small file system at ``disk/``; return a function that mounts it again with other options."""
    place = home / "disk"
    place.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no program that mounts")
    result = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True)
    if result.returncode:
        pytest.skip(f"mounting is not allowed here: {result.stderr.decode().strip()}")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield remount
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a folder for stores, or a prefix in a bucket."""
    if request.param == "disk":
        return str(tmp_path)
    return f"s3://{request.getfixturevalue('empty_bucket')}/cache"
