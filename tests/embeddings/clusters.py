"""Dask schedulers and workers in processes of their own, and a table of toy images for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.conftest import TOY_RECIPE, make_images

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
PRELOAD = '["tests.conftest"]'  # where the toy backbone is registered


def make_recipe(home: Path, n_each: int) -> Path:
    """Return a recipe over that many images of each of two classes."""
    home.mkdir(exist_ok=True)
    make_images(home / "images", n_each=n_each)
    (home / "featx.toml").write_text(TOY_RECIPE + PLACES)
    return home / "featx.toml"


def worker_processes() -> list[psutil.Process]:
    """Return the worker processes of this process."""
    return [process for process in psutil.Process().children() if "spec" in process.cmdline()]


def kill(process: psutil.Process) -> None:
    for descendant in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if "loky" not in " ".join(descendant.cmdline()):  # decoders end by themselves after their parent
                descendant.kill()


@contextmanager
def scheduler() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler without workers."""
    code = "import sys; from distributed import LocalCluster as C; c = C(n_workers=0, dashboard_address=None); "
    code += "print(c.scheduler_address, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip(), process
        finally:
            process.kill()


@contextmanager
def worker(address: str, path: str, *options: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker whose Python searches a folder for packages first."""
    command = [sys.executable, *options, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    environment = os.environ | {"PYTHONPATH": path}
    command += ["--no-nanny", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=cwd, **quiet) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()
