"""Other processes: scripts and functions that are started, and killed at a moment, with or without their children."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[1]
MAX_WAIT_S = 60
# The fork server imports modules once for all processes.
FORK_CONTEXT = get_context("forkserver")
FORK_CONTEXT.set_forkserver_preload(
    ["tests.conftest", "featx.cli.main", "featx.embeddings.extract", "tests.storage.killing"]
)


def start_script(code: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start Python code that can import the tests; options are those of `subprocess.Popen`."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("FEATX_")}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=environment | {"PYTHONPATH": str(ROOT)}, text=True, **options)


@contextmanager
def killed_at_end(process: "subprocess.Popen[Any]") -> Iterator["subprocess.Popen[Any]"]:
    """Yield a process, and kill it at the end of the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(is_reached: Callable[[], bool]) -> bool:
    """Wait for a condition, for a minute at most; return whether it holds."""
    deadline = time.monotonic() + MAX_WAIT_S
    while not is_reached() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_reached()


def run_until_killed(
    code: str, *arguments: str, n_lines: int = 1, is_reached: Callable[[], bool] = lambda: True
) -> None:
    """Run Python code, and kill it after it has printed some lines and a condition holds."""
    with killed_at_end(start_script(code, *arguments, stdout=subprocess.PIPE)) as process:
        assert process.stdout is not None
        assert all(process.stdout.readline() for _ in range(n_lines)), "the code ended before it was killed"
        assert wait_until(is_reached)
        assert process.poll() is None, "the code ended before it was killed"


def kill_tree(process: psutil.Process, spared: str = "loky") -> None:
    """Kill a process and its descendants, except those whose command contains a word."""
    for descendant in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if spared not in " ".join(descendant.cmdline()):
                descendant.kill()


def decoders_of(parent: int) -> list[int]:
    """Return the ids of the decoding workers of a process."""
    decoders = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children():
            with suppress(psutil.NoSuchProcess):  # it ended since it was listed
                if any("popen_loky" in word for word in child.cmdline()):
                    decoders.append(child.pid)
    return decoders


def kill_decoders() -> int:
    """Kill the decoding workers of this process; return how many were still there."""
    n_killed = 0
    for decoder in decoders_of(os.getpid()):
        with suppress(ProcessLookupError):  # it ended since it was listed
            os.kill(decoder, signal.SIGKILL)
            n_killed += 1
    return n_killed


def start_process(call: Callable[..., None], *args: object) -> BaseProcess:
    """Start a function in its own process."""
    process = FORK_CONTEXT.Process(target=call, args=args)
    with pytest.MonkeyPatch.context() as patch:  # the fork server of Python 3.11 is not told sys.path
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        process.start()
    return process


def kill_group(process: BaseProcess) -> None:
    """Kill a process and all processes of its group."""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group of its own yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    for semaphore in Path("/dev/shm").glob(f"sem.loky-{process.pid}-*"):
        semaphore.unlink()  # loky's tracker would have, and was killed as well


def kill_after(process: BaseProcess, moment_s: float) -> bool:
    """Kill a process and its group after some seconds; return whether it was still running."""
    process.join(moment_s)
    if process.exitcode is not None:
        assert process.exitcode == 0
        return False
    kill_group(process)
    return True


def enter_folder(folder: Path, output: int | None = None) -> None:
    """Make this process the leader of a group, in a folder, without featx's environment variables."""
    os.setsid()
    os.chdir(folder)
    for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
        os.environ.pop(variable, None)
    with Path("output.txt").open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno() if output is None else output, stream)


def run_command(folder: Path, *words: str, output: int | None = None) -> None:
    """Run the command line in a folder; its output goes to ``output.txt``, or to the file descriptor `output`."""
    enter_folder(folder, output)
    from featx.cli.main import main

    sys.argv = ["featx", *words]
    try:
        main()
    except SystemExit as stop:
        os._exit(int(stop.code or 0))  # multiprocessing does not end loky's threads, and would wait for them
    os._exit(0)


def run_limited(folder: Path, *words: str, max_file_bytes: int | None = None) -> tuple[int, str]:
    """Run the command line in a process with a maximum file size; return its exit code and output."""
    reader, writer = FORK_CONTEXT.Pipe(duplex=False)
    process = start_process(_run_limited_command, folder, writer, max_file_bytes, *words)
    writer.close()
    process.join()
    text = os.read(reader.fileno(), 1 << 20).decode()  # no more than a pipe holds
    assert process.exitcode is not None
    return process.exitcode, text


def _run_limited_command(folder: Path, writer: Connection, max_file_bytes: int | None, *words: str) -> None:
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    run_command(folder, *words, output=writer.fileno())
