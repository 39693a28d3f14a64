"""Benchmark of ``featx explore`` on Fashion-MNIST after an extraction: seconds, and peak memory of all its processes.

usage: python -m tests.benchmarks.exploration [FOLDER] [N]

FOLDER holds the files of Fashion-MNIST; by default it is that of Debian's package dataset-fashion-mnist. N is the
number of images of an even sample; by default all 70,000. The extraction, with images of 32 px, is not timed.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import featx
from featx.artifacts.header import commit

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
RECIPE = """
[data]
source = "{folder}"
reader = "arrays"
[[data.arrays]]
images = "train-images-idx3-ubyte.gz"
labels = {{ label = "train-labels-idx1-ubyte.gz" }}
split = "train"
[[data.arrays]]
images = "t10k-images-idx3-ubyte.gz"
labels = {{ label = "t10k-labels-idx1-ubyte.gz" }}
split = "test"
[targets.label]
column = "label"
[split]
column = "split"
val = 0.15
[[embedding]]
backbone = "efficientnet_lite0"
size_px = 32
resize = "squash"
"""
MAX_S, MAX_MB = 300, 1500
POLL_S = 0.2


class MemoryWatch(threading.Thread):
    """Watches the proportional memory of a process and of all processes in its session.

    Parameters
    ----------
    session
        Number of the session.

    Attributes
    ----------
    peak_mb
        Largest sum so far.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._session = session

    def run(self) -> None:
        """Measure until the first process ends."""
        while Path(f"/proc/{self._session}/stat").exists():
            self.peak_mb = max(self.peak_mb, sum(map(_proportional_mb, self._processes())))
            time.sleep(POLL_S)

    def _processes(self) -> list[int]:
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [number for number in numbers if _session_of(number) == self._session]


def _session_of(process: int) -> int:
    try:
        return os.getsid(process)
    except OSError:
        return -1


def _proportional_mb(process: int) -> float:
    """Return the memory of a process in MB; what several processes share is divided among them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def explore(home: Path, n_images: int | None) -> tuple[float, float, float, dict[str, object]]:
    """Return the seconds, the seconds of computing, and the peak memory in MB of the command, and what it printed."""
    options = [] if n_images is None else ["--max-images", str(n_images)]
    command = [sys.executable, "-c", "from featx.cli.main import main; main()", "explore", "--json", *options]
    start, usage_before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, start_new_session=True) as process:
        watch = MemoryWatch(process.pid)
        watch.start()
        assert process.stdout is not None
        text = process.stdout.read()
    usage_after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = usage_after.ru_utime + usage_after.ru_stime - usage_before.ru_utime - usage_before.ru_stime
    return time.perf_counter() - start, cpu_s, watch.peak_mb, json.loads(text)


def main(folder: Path = FASHION_MNIST, n_images: int | None = None) -> int:
    """Print the figures; return 1 if a limit is exceeded."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "featx.toml").write_text(RECIPE.format(folder=folder))
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_LOCAL_CACHE", "FEATX_RUNS"):
            os.environ.pop(variable, None)
        extraction = featx.extract(home / "featx.toml")
        print(f"commit {commit()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(
            f"extracted {extraction.n_found} images in {extraction.seconds:.0f} s (not part of the figures)", flush=True
        )
        is_within = True
        for title in ("first call", "second call"):
            seconds, cpu_s, peak_mb, result = explore(home, n_images)
            is_within &= seconds < MAX_S and peak_mb < MAX_MB
            figures = f"{seconds:.0f} s ({cpu_s:.0f} s of computing), {peak_mb:.0f} MB in all processes"
            print(f"{title}: {result['n_images']} images, {figures}", flush=True)
        print(f"limits: {MAX_S} s, {MAX_MB} MB: {'kept' if is_within else 'EXCEEDED'}")
        return 0 if is_within else 1


if __name__ == "__main__":
    arguments = sys.argv[1:]
    place = Path(arguments[0]).resolve() if arguments else FASHION_MNIST
    sys.exit(main(place, int(arguments[1]) if len(arguments) > 1 else None))
