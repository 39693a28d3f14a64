"""A cluster that lacks access, is stopped or is lost gives an error in one line, and stored vectors are kept.

Modules: embeddings.worker_tasks.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import featx.parallel.dask_client
from featx.embeddings.distributed import fill_by_workers
from featx.embeddings.fill import NetworkPlan, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.worker_tasks import check_access
from featx.embeddings.workers import ImageSource
from featx.errors import ClusterError
from featx.images.contents import digest
from featx.progress import ProgressCallback, no_progress
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.storage.store import EmbeddingStore
from featx.study.study import Study
from tests.embeddings.clusters import scheduler, worker
from tests.fuses import Drag

ROOT = str(Path(featx.__file__).parents[1])


class ClusterWork:
    """Images of a recipe that are to be embedded by a cluster.

    Parameters
    ----------
    slow
        Whether they take their time.
    """

    def __init__(self, recipe: Path, slow: bool = True) -> None:
        self.files = sorted((recipe.parent / "images").rglob("*.png"))[::3]
        contents = [file.read_bytes() for file in self.files]
        self.uris: dict[str, ImageSource] = {
            digest(content): Drag(content) if slow else str(file.relative_to(recipe.parent))
            for content, file in zip(contents, self.files, strict=True)
        }
        study = Study.open(recipe)
        self.selector = RuntimeSelector(
            study.cache, EngineSpec(device="cpu", runtime="torch", workers=1), self.uris, no_progress
        )
        self.plans: list[NetworkPlan] = plans_for(network_groups(study.recipe.requests), self.selector)

    def embed(self, address: str, progress: ProgressCallback = no_progress) -> None:
        fill_by_workers(ClusterSpec(scheduler=address), self.plans, self.uris, self.selector, progress)

    @property
    def n_stored(self) -> int:
        store: EmbeddingStore = self.plans[0].stores[0]
        store.refresh()
        return len(self.uris) - len(store.missing(self.uris))


def call_after_first_images(act: Callable[[], object]) -> ProgressCallback:
    """Return a progress callback that calls a function once the first images are embedded."""
    acts = [act]

    def progress(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "embed" and n_done and acts:
            acts.pop()()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_worker_reports_what_it_cannot_access(shared_recipe: Path, tmp_path: Path) -> None:
    visible_folder = tmp_path / "visible"
    visible_folder.mkdir()
    (visible_folder / "probe").touch()
    assert check_access(visible_folder / "probe", None) == ""
    assert check_access(tmp_path / "elsewhere" / "probe", None) == f"does not see the cache {tmp_path}/elsewhere"
    image = str(shared_recipe.parent / "images" / "dark" / "000.png")
    assert check_access(None, image) == ""
    assert check_access(None, image + "x") == f"cannot read the image {image}x (there is no such file)"


def test_workers_that_cannot_read_the_images_get_no_work(
    shared_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_recipe.parent)
    other_folder = tmp_path / "elsewhere"
    other_folder.mkdir()
    work = ClusterWork(shared_recipe, slow=False)
    message = r"worker tcp://\S+ cannot read the image images/\S+ \(there is no such file\); all workers need the same"
    raises_error = pytest.raises(ClusterError, match=message)
    with scheduler() as (address, _), worker(address, ROOT, cwd=other_folder), raises_error:
        work.embed(address)
    assert work.n_stored == 0


@pytest.mark.slow
def test_workers_publish_and_stop_soon_after_ctrl_c(shared_recipe: Path) -> None:
    work = ClusterWork(shared_recipe)
    with scheduler() as (address, _), worker(address, ROOT):
        with pytest.raises(KeyboardInterrupt):
            work.embed(address, call_after_first_images(interrupt))
        n_at_stop = work.n_stored
        assert n_at_stop
        time.sleep(3 * featx.parallel.dask_client.MAX_WAIT_S)
        n_after_wait = work.n_stored
        time.sleep(2 * featx.parallel.dask_client.MAX_WAIT_S)
        assert work.n_stored == n_after_wait < len(work.uris)
        work.embed(address)
    assert work.n_stored == len(work.uris)


@pytest.mark.slow
def test_a_lost_scheduler_is_an_error_and_stored_vectors_are_kept(shared_recipe: Path) -> None:
    work = ClusterWork(shared_recipe)
    raises_error = pytest.raises(ClusterError, match=r"^the scheduler is gone; finished work is kept: run again$")
    with scheduler() as (address, process), worker(address, ROOT), raises_error:
        work.embed(address, call_after_first_images(process.kill))
    assert 0 < work.n_stored < len(work.uris)


def test_losing_all_workers_is_an_error_after_a_wait(shared_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.parallel.dask_client, "MAX_WITHOUT_WORKERS_S", 3.0)
    work = ClusterWork(shared_recipe)
    raises_error = pytest.raises(
        ClusterError, match=r"^all workers are lost, and none came back within 3 s; run again$"
    )
    with scheduler() as (address, _), worker(address, ROOT) as process, raises_error:
        work.embed(address, call_after_first_images(process.kill))
    assert 0 < work.n_stored < len(work.uris)
