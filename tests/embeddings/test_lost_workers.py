"""A cluster that cannot see what it needs, is stopped, or is lost: one line, and what was done is kept."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import featx.parallel.dask_client
from featx.embeddings.distributed import fill_by_workers
from featx.embeddings.fill import Plan, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.worker_tasks import check_access
from featx.embeddings.workers import Place
from featx.errors import ClusterError
from featx.images.contents import digest
from featx.progress import ProgressCallback, no_progress
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.storage.store import EmbeddingStore
from featx.study.study import Study
from tests.embeddings.clusters import scheduler, worker
from tests.fuses import Drag

ROOT = str(Path(featx.__file__).parents[1])


class Work:
    """Images of a recipe that are to be embedded by a cluster.

    Parameters
    ----------
    slow
        Whether they take their time.
    """

    def __init__(self, recipe: Path, slow: bool = True) -> None:
        self.files = sorted((recipe.parent / "images").rglob("*.png"))[::3]
        contents = [file.read_bytes() for file in self.files]
        self.uris: dict[str, Place] = {
            digest(content): Drag(content) if slow else str(file.relative_to(recipe.parent))
            for content, file in zip(contents, self.files, strict=True)
        }
        study = Study.open(recipe)
        self.selector = RuntimeSelector(
            study.cache, EngineSpec(device="cpu", runtime="torch", workers=1), self.uris, no_progress
        )
        self.plans: list[Plan] = plans_for(network_groups(study.recipe.requests), self.selector)

    def embed(self, address: str, progress: ProgressCallback = no_progress) -> None:
        fill_by_workers(ClusterSpec(scheduler=address), self.plans, self.uris, self.selector, progress)

    @property
    def n_stored(self) -> int:
        store: EmbeddingStore = self.plans[0].stores[0]
        store.refresh()
        return len(self.uris) - len(store.missing(self.uris))


def once_begun(act: Callable[[], object]) -> ProgressCallback:
    """Return a progress that does something once the first images are embedded."""
    acts = [act]

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed" and done and acts:
            acts.pop()()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_worker_says_what_it_does_not_see(shared_recipe: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "probe").touch()
    assert check_access(here / "probe", None) == ""
    assert check_access(tmp_path / "elsewhere" / "probe", None) == f"does not see the cache {tmp_path}/elsewhere"
    image = str(shared_recipe.parent / "images" / "dark" / "000.png")
    assert check_access(None, image) == ""
    assert check_access(None, image + "x") == f"cannot read the image {image}x (there is no such file)"


def test_workers_that_do_not_see_the_images_get_no_work(
    shared_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_recipe.parent)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    work = Work(shared_recipe, slow=False)
    message = r"worker tcp://\S+ cannot read the image images/\S+ \(there is no such file\); all workers need the same"
    refused = pytest.raises(ClusterError, match=message)
    with scheduler() as (address, _), worker(address, ROOT, cwd=elsewhere), refused:
        work.embed(address)
    assert work.n_stored == 0


def test_workers_stop_soon_after_ctrl_c_and_publish_what_they_have(shared_recipe: Path) -> None:
    work = Work(shared_recipe)
    with scheduler() as (address, _), worker(address, ROOT):
        with pytest.raises(KeyboardInterrupt):
            work.embed(address, once_begun(interrupt))
        kept = work.n_stored
        assert kept
        time.sleep(3 * featx.parallel.dask_client.LOOK_S)
        later = work.n_stored
        time.sleep(2 * featx.parallel.dask_client.LOOK_S)
        assert work.n_stored == later < len(work.uris)
        work.embed(address)
    assert work.n_stored == len(work.uris)


def test_a_scheduler_that_goes_is_said_and_what_was_done_is_kept(shared_recipe: Path) -> None:
    work = Work(shared_recipe)
    said = pytest.raises(ClusterError, match=r"^the scheduler is gone; what was done is kept: run again$")
    with scheduler() as (address, process), worker(address, ROOT), said:
        work.embed(address, once_begun(process.kill))
    assert 0 < work.n_stored < len(work.uris)


def test_workers_that_all_go_are_waited_for_and_then_it_is_said(
    shared_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featx.parallel.dask_client, "ALONE_S", 3.0)
    work = Work(shared_recipe)
    said = pytest.raises(ClusterError, match=r"^all workers are lost, and none came back within 3 s; run again$")
    with scheduler() as (address, _), worker(address, ROOT) as process, said:
        work.embed(address, once_begun(process.kill))
    assert 0 < work.n_stored < len(work.uris)
