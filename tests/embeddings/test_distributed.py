"""Extraction by Dask workers: the same vectors, whoever dies, and one line for what cannot work."""

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
from featx.embeddings.workers import DIED, Place
from featx.errors import ClusterError
from featx.images.contents import digest
from featx.progress import no_progress
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.study.study import Study
from tests.embeddings.clusters import kill, made, scheduler, worker, workers_here
from tests.fuses import Fuse
from tests.rows import stored_rows


def test_a_cluster_that_loses_a_worker_half_way_stores_the_same_vectors(shared_recipe: Path) -> None:
    clean = made(shared_recipe.parent / "clean", 300)
    extract(clean)
    (shared_recipe.parent / "images" / "dark" / "000.png").write_bytes(b"no picture")
    killed, told = [], []

    def murderous(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed":
            told.append(done)
            if done and not killed:
                killed.append(workers_here()[0].pid)
                kill(workers_here()[0])

    done = extract(shared_recipe, cluster=ClusterSpec(workers_local=3), progress=murderous)

    assert killed
    assert told == sorted(told)
    assert told[-1] == 600
    assert (done.n_embedded, done.n_unreadable) == (599, 1)
    assert [name for name, *_ in done.failures] == ["dark/000.png"]
    expected = stored_rows(Study.open(clean))
    expected.pop("dark/000.png")
    assert stored_rows(Study.open(shared_recipe)) == expected
    assert not workers_here()
    assert extract(shared_recipe, cluster=ClusterSpec(workers_local=3)).n_cached == 599


def test_ctrl_c_keeps_what_is_done_and_the_rest_is_done_later(shared_recipe: Path) -> None:
    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(shared_recipe, cluster=ClusterSpec(workers_local=1), progress=impatient)
    assert not workers_here()
    done = extract(shared_recipe)
    assert done.n_cached >= 64
    assert done.n_cached + done.n_embedded == 600


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.parallel.dask_client, "ANSWER_S", 5.0)


def refused(recipe: Path, address: str, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError, match=message) as raised:
        extract(recipe, cluster=ClusterSpec(scheduler=address))
    assert time.monotonic() - start < 30
    assert "\n" not in str(raised.value)
    assert not list(recipe.parent.glob("cache/*.zarr"))


def test_a_scheduler_that_does_not_answer_and_one_without_workers_are_said(
    shared_recipe: Path, impatient: None
) -> None:
    refused(
        shared_recipe, "tcp://127.0.0.1:9", r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9' within 5 s; start one"
    )
    refused(shared_recipe, "nonsense://x", r"no Dask scheduler answers at 'nonsense://x' within 5 s")
    with scheduler() as (address, _):
        refused(
            shared_recipe,
            address,
            rf"no workers have come to {address} within 5 s, .*dask worker {address} --nthreads 1",
        )


def site_without_featx(folder: Path) -> str:
    """Link all installed packages but featx into a folder."""
    folder.mkdir()
    for place in {Path(one) for one in sys.path if one.endswith("site-packages")}:
        for one in place.iterdir():
            if "featx" not in one.name and not one.name.endswith(".pth") and not (folder / one.name).exists():
                (folder / one.name).symlink_to(one)
    return str(folder)


def other_version(folder: Path) -> str:
    (folder / "featx-0.0.1.dist-info").mkdir(parents=True)
    (folder / "featx-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: featx\nVersion: 0.0.1\n")
    return str(folder)


def test_workers_without_the_package_or_with_another_version_are_named(
    shared_recipe: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASK_DISTRIBUTED__WORKER__PRELOAD")
    cases: list[tuple[Callable[[Path], str], tuple[str, ...], str]] = [
        (site_without_featx, ("-S",), "has no featx, expected .*pip install featx=="),
        (other_version, (), r"has featx 0\.0\.1, expected "),
    ]
    for number, (path, options, message) in enumerate(cases):
        with scheduler() as (address, _), worker(address, path(shared_recipe.parent / f"site{number}"), *options):
            refused(shared_recipe, address, rf"worker tcp://127\.0\.0\.1:\d+ {message}")


def test_a_picture_that_kills_its_decoder_costs_itself_inside_a_dask_worker(shared_recipe: Path) -> None:
    study = Study.open(shared_recipe)
    files = sorted((shared_recipe.parent / "images").rglob("*.png"))[:40]
    uris: dict[str, Place] = {digest(file.read_bytes()): str(file) for file in files}
    deadly = list(uris)[20]
    uris[deadly] = Fuse(files[20].read_bytes())
    selector = RuntimeSelector(study.cache, EngineSpec(device="cpu", runtime="torch"), uris, no_progress)
    plans = plans_for(network_groups(study.recipe.requests), selector)

    passed = fill_by_workers(ClusterSpec(workers_local=1), plans, uris, selector, no_progress)

    assert passed.failed == {deadly: DIED}
    assert passed.embedded == uris.keys() - {deadly}
    (store,) = plans[0].stores
    store.refresh()
    assert store.missing(uris) == [deadly]


def test_workers_of_this_machine_talk_to_the_call_alone() -> None:
    with featx.parallel.dask_client.connected(ClusterSpec(workers_local=1)) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(one.startswith("tls://") for one in featx.parallel.dask_client.addresses(client))
        assert client.submit(sum, [1, 2]).result() == 3
        for stranger in (address, address.replace("tls", "tcp")):
            for security in (None, distributed.Security.temporary()):
                with pytest.raises((OSError, RuntimeError, TypeError)):
                    distributed.Client(address=stranger, security=security, timeout=2, set_as_default=False)
        others = [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True)]
        assert not any("PRIVATE KEY" in line for line in others)
        folders = [one for one in Path(tempfile.gettempdir()).glob("featx-key-*") if one.stat().st_uid == os.getuid()]
        assert folders
        assert all(one.stat().st_mode & 0o077 == 0 for one in folders)
