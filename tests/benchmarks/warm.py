"""Benchmark of an extraction with a full cache: files per second, and the check that no image is opened.

usage: python -m tests.benchmarks.warm

50,000 small images in ten class folders are extracted once, with their vectors already in the store. Then
``featx.extract`` is called three more times. Every file that is opened below the folder of images is counted.
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
from tests.conftest import TOY_RECIPE
from tests.image_files import wait_until_settled

N_FILES = 50_000
N_CLASSES = 10
N_CALLS = 3
MIN_FILES_PER_S = 20_000


class OpenCounter:
    """Counter of the files below a folder that this process opens.

    Parameters
    ----------
    folder
        Folder of the files.

    Attributes
    ----------
    n
        Number of opened files.
    """

    def __init__(self, folder: Path) -> None:
        self.n = 0
        self._folder = f"{folder}/"
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(self._folder):
            self.n += 1


def make_bitmap(number: int) -> bytes:
    """Return a BMP of one pixel with a different colour for each number."""
    header = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 58, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
    return header + number.to_bytes(4, "little")


def make_images(folder: Path) -> list[str]:
    """Write different images, one folder for each class; return their paths."""
    paths = []
    for number in range(N_FILES):
        file = folder / f"class{number % N_CLASSES}" / f"{number:06}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(make_bitmap(number))
        paths.append(str(file))
    wait_until_settled()
    return paths


def fill_store(study: Study, paths: list[str]) -> None:
    """Add a random vector for each image to the store, because the network is not measured."""
    (group,) = network_groups(study.recipe.requests)
    (spec,), (d,) = group.resolved.specs, group.resolved.n_features
    store = EmbeddingStore(study.store_path(spec), spec, d)
    rows = np.random.default_rng(0).normal(size=(N_FILES, store.n_features)).astype(np.float32)
    store.add(
        [identified.digest for identified in identify_images(paths)], rows, BATCH_SIZES["cpu"], {"device": "none"}
    )


def time_extract(n_read: int) -> float:
    """Return the seconds of an extraction that embeds no image and reads `n_read` files."""
    start = time.perf_counter()
    extraction = featx.extract()
    elapsed_s = time.perf_counter() - start
    assert (extraction.n_cached, extraction.n_embedded, extraction.n_read) == (N_FILES, 0, n_read), extraction
    return elapsed_s


def measure_files_per_s() -> float:
    """Return the files per second of an extraction with a full cache."""
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        os.environ |= {"FEATX_CACHE": "cache", "FEATX_RUNS": "runs"}
        Path("featx.toml").write_text(TOY_RECIPE)
        folder = Path(place, "images")
        fill_store(Study.open(None), make_images(folder))
        openings = OpenCounter(folder)
        first = time_extract(n_read=N_FILES)
        assert openings.n >= N_FILES, "not all openings are counted"
        openings.n = 0
        cpu = time.process_time()
        warm = [time_extract(n_read=0) for _ in range(N_CALLS)]
        cpu = (time.process_time() - cpu) / N_CALLS
        assert openings.n == 0, f"{openings.n} files were opened"
        os.chdir("/")
    rate = N_FILES / statistics.median(warm)
    print(f"first    {N_FILES:,} files read for their digests in {first:.2f} s")
    print(
        f"warm     {N_FILES:,} files in {statistics.median(warm):.2f} s (median of {N_CALLS}; {cpu:.2f} s of CPU), "
        f"none opened: {rate:,.0f} files per second, expected {MIN_FILES_PER_S:,}"
    )
    return rate


def main() -> None:
    """Print the times; exit with 1 if an extraction with a full cache is too slow."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, commit {commit()}")
    sys.exit(0 if measure_files_per_s() >= MIN_FILES_PER_S else 1)


if __name__ == "__main__":
    main()
