"""What an extraction costs when all is in the cache: files a second, and that not one image is opened.

usage: python -m tests.benchmarks.warm

50,000 small pictures in ten class folders are extracted once, their vectors being in the store already; then
``featx.extract`` is called three times more. Every opening of a file below the folder of pictures is counted.
"""

import os
import platform
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import featx
from featx.artifacts.header import commit
from featx.embeddings.groups import network_groups
from featx.embeddings.runtimes import BATCH_SIZES
from featx.images.digests import identify_images
from featx.storage.store import EmbeddingStore
from featx.study.study import Study
from tests.conftest import TOY_RECIPE  # brings the toy backbone as well

N_FILES = 50_000
N_CLASSES = 10
CALLS = 3
LEAST_FILES_PER_S = 20_000
AGE_S = 3600  # of the files: those written just now are read again


class Openings:
    """Counts the files below a folder that this process opens.

    Parameters
    ----------
    folder
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.n = 0
        self._folder = f"{folder}/"
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(self._folder):
            self.n += 1


def bitmap(number: int) -> bytes:
    """Return a BMP of one pixel, of another colour for each number."""
    header = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 58, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
    return header + number.to_bytes(4, "little")


def make_pictures(folder: Path) -> list[str]:
    """Write different pictures, a folder a class; return their paths."""
    then = time.time() - AGE_S
    paths = []
    for number in range(N_FILES):
        file = folder / f"class{number % N_CLASSES}" / f"{number:06}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bitmap(number))
        os.utime(file, (then, then))
        paths.append(str(file))
    return paths


def fill_store(study: Study, paths: list[str]) -> None:
    """Put a vector for each picture into the store, past the network: that is not what is measured."""
    (group,) = network_groups(study.recipe.requests)
    (spec,), (d,) = group.resolved.specs, group.resolved.n_features
    store = EmbeddingStore(study.store_path(spec), spec, d)
    rows = np.random.default_rng(0).normal(size=(N_FILES, store.n_features)).astype(np.float32)
    store.add([found.digest for found in identify_images(paths)], rows, BATCH_SIZES["cpu"], {"device": "none"})


def seconds_of_extract(n_read: int) -> float:
    """Return how long an extraction takes that embeds nothing and reads so many files."""
    start = time.perf_counter()
    done = featx.extract()
    took = time.perf_counter() - start
    assert (done.n_cached, done.n_embedded, done.n_read) == (N_FILES, 0, n_read), done
    return took


def files_per_s() -> float:
    """Return the files a second of an extraction that has nothing to do."""
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        os.environ |= {"FEATX_CACHE": "cache", "FEATX_RUNS": "runs"}
        Path("featx.toml").write_text(TOY_RECIPE)
        folder = Path(place, "images")
        fill_store(Study.open(None), make_pictures(folder))
        openings = Openings(folder)
        first = seconds_of_extract(n_read=N_FILES)
        assert openings.n >= N_FILES, "not all openings are counted"
        openings.n = 0
        cpu = time.process_time()
        warm = [seconds_of_extract(n_read=0) for _ in range(CALLS)]
        cpu = (time.process_time() - cpu) / CALLS
        assert openings.n == 0, f"{openings.n} files were opened"
        os.chdir("/")
    rate = N_FILES / statistics.median(warm)
    print(f"first    {N_FILES:,} files read for their digests in {first:.2f} s")
    print(
        f"warm     {N_FILES:,} files in {statistics.median(warm):.2f} s (median of {CALLS}; {cpu:.2f} s of CPU), none "
        f"opened: {rate:,.0f} files a second, expected {LEAST_FILES_PER_S:,}"
    )
    return rate


def main() -> None:
    """Print the times; exit with 1 where a warm extraction is too slow."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, commit {commit()}")
    sys.exit(0 if files_per_s() >= LEAST_FILES_PER_S else 1)


if __name__ == "__main__":
    main()
