"""Extraction by Dask workers gives the same vectors even if workers die; unusable clusters are errors.

Modules: embeddings.fill, parallel.dask_client, parallel.local_workers.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import distributed
import psutil
import pytest

import featx
import featx.parallel.dask_client
from featx import extract
from featx.embeddings.distributed import fill_by_workers
from featx.embeddings.fill import plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.workers import WORKER_DIED, ImageSource
from featx.errors import ClusterError
from featx.images.contents import digest
from featx.progress import no_progress
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.study.study import Study
from tests.embeddings.clusters import make_recipe, scheduler, worker, worker_processes
from tests.fuses import Fuse
from tests.processes import kill_tree
from tests.rows import stored_rows


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_stores_the_same_vectors(shared_recipe: Path) -> None:
    clean_recipe = make_recipe(shared_recipe.parent / "clean", 300)
    extract(clean_recipe)
    (shared_recipe.parent / "images" / "dark" / "000.png").write_bytes(b"no picture")
    killed, counts = [], []

    def kill_a_worker(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "embed":
            counts.append(n_done)
            if n_done and not killed:
                killed.append(worker_processes()[0].pid)
                kill_tree(worker_processes()[0])

    extraction = extract(shared_recipe, cluster=ClusterSpec(workers_local=3), progress=kill_a_worker)

    assert killed
    assert counts == sorted(counts)
    assert counts[-1] == 600
    assert (extraction.n_embedded, extraction.n_unreadable) == (599, 1)
    assert [name for name, *_ in extraction.failures] == ["dark/000.png"]
    expected = stored_rows(Study.open(clean_recipe))
    expected.pop("dark/000.png")
    assert stored_rows(Study.open(shared_recipe)) == expected
    assert not worker_processes()
    assert extract(shared_recipe, cluster=ClusterSpec(workers_local=3)).n_cached == 599


def test_an_extraction_continues_after_ctrl_c(shared_recipe: Path) -> None:
    def impatient(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "embed" and n_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(shared_recipe, cluster=ClusterSpec(workers_local=1), progress=impatient)
    assert not worker_processes()
    extraction = extract(shared_recipe)
    assert extraction.n_cached >= 64
    assert extraction.n_cached + extraction.n_embedded == 600


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.parallel.dask_client, "MAX_ANSWER_S", 5.0)


def assert_refused(recipe: Path, address: str, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError, match=message) as raised:
        extract(recipe, cluster=ClusterSpec(scheduler=address))
    assert time.monotonic() - start < 30
    assert "\n" not in str(raised.value)
    assert not list(recipe.parent.glob("cache/*.zarr"))


def test_a_silent_scheduler_and_one_without_workers_are_errors(shared_recipe: Path, impatient: None) -> None:
    assert_refused(
        shared_recipe, "tcp://127.0.0.1:9", r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9' within 5 s; start one"
    )
    assert_refused(shared_recipe, "nonsense://x", r"no Dask scheduler answers at 'nonsense://x' within 5 s")
    with scheduler() as (address, _):
        assert_refused(
            shared_recipe,
            address,
            rf"no workers have connected to {address} within 5 s, .*dask worker {address} --nthreads 1",
        )


def site_without_featx(folder: Path) -> str:
    """Link all installed packages but featx into a folder."""
    folder.mkdir()
    for site in {Path(package) for package in sys.path if package.endswith("site-packages")}:
        for package in site.iterdir():
            if (
                "featx" not in package.name
                and not package.name.endswith(".pth")
                and not (folder / package.name).exists()
            ):
                (folder / package.name).symlink_to(package)
    return str(folder)


def site_with_another_version(folder: Path) -> str:
    (folder / "featx-0.0.1.dist-info").mkdir(parents=True)
    (folder / "featx-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: featx\nVersion: 0.0.1\n")
    return str(folder)


def test_workers_without_featx_or_with_another_version_are_named(
    shared_recipe: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASK_DISTRIBUTED__WORKER__PRELOAD")
    cases: list[tuple[Callable[[Path], str], tuple[str, ...], str]] = [
        (site_without_featx, ("-S",), "has no featx, expected .*pip install featx=="),
        (site_with_another_version, (), r"has featx 0\.0\.1, expected "),
    ]
    for number, (path, options, message) in enumerate(cases):
        with scheduler() as (address, _), worker(address, path(shared_recipe.parent / f"site{number}"), *options):
            assert_refused(shared_recipe, address, rf"worker tcp://127\.0\.0\.1:\d+ {message}")


def test_an_image_that_kills_its_decoder_fails_alone_in_dask(shared_recipe: Path) -> None:
    study = Study.open(shared_recipe)
    files = sorted((shared_recipe.parent / "images").rglob("*.png"))[:40]
    uris: dict[str, ImageSource] = {digest(file.read_bytes()): str(file) for file in files}
    deadly = list(uris)[20]
    uris[deadly] = Fuse(files[20].read_bytes())
    selector = RuntimeSelector(study.cache, EngineSpec(device="cpu", runtime="torch"), uris, no_progress)
    plans = plans_for(network_groups(study.recipe.requests), selector)

    statistics = fill_by_workers(ClusterSpec(workers_local=1), plans, uris, selector, no_progress)

    assert statistics.failed == {deadly: WORKER_DIED}
    assert statistics.embedded == uris.keys() - {deadly}
    (store,) = plans[0].stores
    store.refresh()
    assert store.missing(uris) == [deadly]


def test_local_workers_accept_connections_of_their_call_only() -> None:
    with featx.parallel.dask_client.connect_client(ClusterSpec(workers_local=1)) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(entry.startswith("tls://") for entry in featx.parallel.dask_client.worker_addresses(client))
        assert client.submit(sum, [1, 2]).result() == 3
        for stranger in (address, address.replace("tls", "tcp")):
            for security in (None, distributed.Security.temporary()):
                arguments = {} if security is None else security.get_connection_args("client")
                # A client of its own would need a thread, which may start late on a busy machine.
                with pytest.raises((OSError, RuntimeError, TypeError)):
                    client.sync(distributed.comm.connect, stranger, timeout=2, **arguments)
        command_lines = [" ".join(entry.cmdline()) for entry in psutil.Process().children(recursive=True)]
        assert not any("PRIVATE KEY" in line for line in command_lines)
        folders = [
            entry for entry in Path(tempfile.gettempdir()).glob("featx-key-*") if entry.stat().st_uid == os.getuid()
        ]
        assert folders
        assert all(entry.stat().st_mode & 0o077 == 0 for entry in folders)
