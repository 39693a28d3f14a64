"""Dask schedulers and workers in processes of their own, and a table of toy images for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.conftest import TOY_RECIPE, make_images
from tests.processes import killed_at_end, start_script

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


@contextmanager
def scheduler() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start a scheduler without workers."""
    code = "import sys; from distributed import LocalCluster as C; c = C(n_workers=0, dashboard_address=None); "
    code += "print(c.scheduler_address, flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with killed_at_end(start_script(code, **pipes)) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process


@contextmanager
def worker(address: str, path: str, *options: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker whose Python searches a folder for packages first."""
    command = [sys.executable, *options, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    environment = os.environ | {"PYTHONPATH": path}
    command += ["--no-nanny", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with killed_at_end(subprocess.Popen(command, env=environment, cwd=cwd, **quiet)) as process:  # type: ignore[call-overload]
        yield process
