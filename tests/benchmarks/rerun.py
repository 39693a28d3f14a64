"""Benchmark of a second extraction and of the help, as ratios that are measured in one run.

usage: python -m tests.benchmarks.rerun

extract   ``featx extract`` on ELPV with an empty cache, against the same command with a full cache
help      ``featx --help`` against ``python -c "import typer, rich"``, in turn, medians
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from featx.artifacts.header import commit

RECIPE = Path(__file__).parents[2] / "pipelines" / "solar_cells.toml"
FEATX = Path(sys.executable).with_name("featx")
N_RERUNS = 3
N_TURNS = 9
MIN_SPEEDUP = 20.0
MAX_HELP_RATIO = 2.0


def time_command(*command: str | Path) -> float:
    """Run a command in another process and return its wall time."""
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return time.perf_counter() - start


def measure_extract_ratio() -> float:
    """Return the time of the first extraction relative to that of one with a full cache."""
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"FEATX_CACHE": f"{place}/cache", "FEATX_RUNS": f"{place}/runs"}
        first_s = time_command(FEATX, "extract", "-r", RECIPE)
        written_at_ns = sorted(path.stat().st_mtime_ns for path in Path(place, "cache").rglob("*"))
        repeated_s = [time_command(FEATX, "extract", "-r", RECIPE) for _ in range(N_RERUNS)]
        json_output = subprocess.run(
            [str(FEATX), "extract", "-r", str(RECIPE), "--json"], check=True, capture_output=True, text=True
        )
        assert json.loads(json_output.stdout)["n_embedded"] == 0
        assert written_at_ns == sorted(path.stat().st_mtime_ns for path in Path(place, "cache").rglob("*"))
    ratio = first_s / statistics.median(repeated_s)
    print(
        f"extract  first {first_s:.1f} s, again {statistics.median(repeated_s):.2f} s "
        f"(median of {N_RERUNS}): {ratio:.0f} x"
    )
    return ratio


def measure_help_ratio() -> float:
    """Return the time of ``featx --help`` relative to that of importing its two libraries."""
    help_s, import_s = [], []
    for _ in range(N_TURNS):
        help_s.append(time_command(FEATX, "--help"))
        import_s.append(time_command(sys.executable, "-c", "import typer, rich"))
    ratio = statistics.median(help_s) / statistics.median(import_s)
    print(
        f"help     featx --help {statistics.median(help_s):.3f} s, "
        f"import typer, rich {statistics.median(import_s):.3f} s "
        f"(medians of {N_TURNS}, in turn): {ratio:.2f} x"
    )
    return ratio


def main() -> None:
    """Print both ratios; exit with 1 if one is not reached."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, commit {commit()}")
    reached = measure_help_ratio() <= MAX_HELP_RATIO, measure_extract_ratio() >= MIN_SPEEDUP
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
