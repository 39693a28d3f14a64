"""Extraction by Dask workers: the same vectors, whoever dies, and one line for what cannot work."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import featx
import featx.cluster
from featx import extract
from featx.embeddings.choice import Chooser
from featx.embeddings.cluster import fill_by
from featx.embeddings.fill import plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.workers import DIED, Place
from featx.errors import ClusterError
from featx.images.contents import digest
from featx.progress import unwatched
from featx.specs import ClusterSpec, EngineSpec
from featx.workspace import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.fuses import Fuse
from tests.rows import stored_rows

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
PRELOAD = '["tests.conftest"]'  # where the toy backbone is registered


@pytest.fixture
def recipe(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """600 images, and workers that know the toy backbone."""
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", PRELOAD)
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))
    return made(home, 300)


def made(home: Path, n_each: int) -> Path:
    home.mkdir(exist_ok=True)
    make_images(home / "images", n_each=n_each)
    (home / "featx.toml").write_text(TOY_RECIPE + PLACES)
    return home / "featx.toml"


def workers_here() -> list[psutil.Process]:
    """The processes that were started for workers, each with those that it has started."""
    return [one for one in psutil.Process().children() if "spec" in one.cmdline()]


def kill(process: psutil.Process) -> None:
    for one in [*process.children(recursive=True), process]:
        if "loky" not in " ".join(one.cmdline()):  # decoders see by themselves that their parent has gone
            os.kill(one.pid, signal.SIGKILL)


def test_a_cluster_that_loses_a_worker_half_way_stores_the_same_vectors(recipe: Path) -> None:
    clean = made(recipe.parent / "clean", 300)
    extract(clean)
    (recipe.parent / "images" / "dark" / "000.png").write_bytes(b"no picture")
    killed, told = [], []

    def murderous(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed":
            told.append(done)
            if done and not killed:
                killed.append(workers_here()[0].pid)
                kill(workers_here()[0])

    done = extract(recipe, cluster=ClusterSpec(workers_local=3), watch=murderous)

    assert killed
    assert told == sorted(told)
    assert told[-1] == 600
    assert (done.n_embedded, done.n_unreadable) == (599, 1)
    assert [name for name, *_ in done.failures] == ["dark/000.png"]
    expected = stored_rows(Study.open(clean))
    expected.pop("dark/000.png")
    assert stored_rows(Study.open(recipe)) == expected
    assert not workers_here()
    assert extract(recipe, cluster=ClusterSpec(workers_local=3)).n_cached == 599


def test_ctrl_c_keeps_what_is_done_and_the_rest_is_done_later(recipe: Path) -> None:
    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(recipe, cluster=ClusterSpec(workers_local=1), watch=impatient)
    assert not workers_here()
    done = extract(recipe)
    assert done.n_cached >= 64
    assert done.n_cached + done.n_embedded == 600


@contextmanager
def scheduler() -> Iterator[str]:
    """A scheduler without workers."""
    code = "import sys; from distributed import LocalCluster as C; c = C(n_workers=0, dashboard_address=None); "
    code += "print(c.scheduler_address, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.kill()


@contextmanager
def worker(address: str, path: str, *options: str) -> Iterator[None]:
    """A worker whose Python finds packages in a folder first."""
    command = [sys.executable, *options, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    environment = os.environ | {"PYTHONPATH": path}
    command += ["--no-nanny", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **quiet) as process:  # type: ignore[call-overload]
        yield
        process.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.cluster, "ANSWER_S", 5.0)


def refused(recipe: Path, address: str, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError, match=message) as raised:
        extract(recipe, cluster=ClusterSpec(scheduler=address))
    assert time.monotonic() - start < 30
    assert "\n" not in str(raised.value)
    assert not list(recipe.parent.glob("cache/*.zarr"))


def test_a_scheduler_that_does_not_answer_and_one_without_workers_are_said(recipe: Path, impatient: None) -> None:
    refused(recipe, "tcp://127.0.0.1:9", r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9' within 5 s; start one")
    refused(recipe, "nonsense://x", r"no Dask scheduler answers at 'nonsense://x' within 5 s")
    with scheduler() as address:
        refused(recipe, address, rf"no workers have come to {address} within 5 s, .*dask worker {address} --nthreads 1")


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
    recipe: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASK_DISTRIBUTED__WORKER__PRELOAD")
    cases: list[tuple[Callable[[Path], str], tuple[str, ...], str]] = [
        (site_without_featx, ("-S",), "has no featx, expected .*pip install featx=="),
        (other_version, (), r"has featx 0\.0\.1, expected "),
    ]
    for number, (path, options, message) in enumerate(cases):
        with scheduler() as address, worker(address, path(recipe.parent / f"site{number}"), *options):
            refused(recipe, address, rf"worker tcp://127\.0\.0\.1:\d+ {message}")


def test_a_picture_that_kills_its_decoder_costs_itself_inside_a_dask_worker(recipe: Path) -> None:
    study = Study.open(recipe)
    files = sorted((recipe.parent / "images").rglob("*.png"))[:40]
    uris: dict[str, Place] = {digest(file.read_bytes()): str(file) for file in files}
    deadly = list(uris)[20]
    uris[deadly] = Fuse(files[20].read_bytes())
    chooser = Chooser(study.cache, EngineSpec(device="cpu", runtime="torch"), uris, unwatched)
    plans = plans_for(network_groups(study.recipe.requests), chooser)

    passed = fill_by(ClusterSpec(workers_local=1), plans, uris, chooser, unwatched)

    assert passed.failed == {deadly: DIED}
    assert passed.embedded == uris.keys() - {deadly}
    (store,) = plans[0].stores
    store.refresh()
    assert store.missing(uris) == [deadly]
