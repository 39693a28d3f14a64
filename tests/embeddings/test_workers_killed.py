"""Workers may die or be killed: no image is lost or decoded twice, and no worker remains."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx import extract
from featx.embeddings import workers as workers_module
from featx.embeddings.workers import WORKER_DIED, Decoder, ImageSource
from featx.images.contents import digest
from featx.specs.embedding import Decoding, Preprocessing
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.processes import ROOT, decoders_of, kill_decoders, start_script, wait_until
from tests.rows import stored_rows
from tests.workers import CHUNK, decoded

HALF = (0.5, 0.5, 0.5)
DECODER = Decoder(Decoding(), (Preprocessing(size_px=16, mean=HALF, std=HALF),))
PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
Todo = list[tuple[str, ImageSource]]


class DeadlyImage(bytes):
    """An image that kills the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return signal.raise_signal, (int(signal.SIGKILL),)


class UnluckyImage(bytes):
    """An image that kills the process that unpickles it, once for each file of a folder."""

    folder: str

    def __reduce__(self) -> tuple[object, tuple[str]]:
        flags = f"list(__import__('pathlib').Path({self.folder!r}).iterdir())[:1]"
        death = f"[(flag.unlink(), __import__('signal').raise_signal({int(signal.SIGKILL)})) for flag in {flags}]"
        return eval, (f"({death}, {bytes(self)!r})[1]",)


def pictures(n: int) -> Todo:
    """Return n images; the colour of each encodes its number."""
    images: Todo = []
    for number in range(n):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 18), (number % 256, number // 256, 7)).save(buffer, "PNG")
        images.append((digest(buffer.getvalue()), buffer.getvalue()))
    return images


def is_running(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def assert_whole(todo: Todo, results: list[tuple[str, object]], dead: dict[int, str]) -> None:
    """Check that each image has one result, in order, with its own colour, and those of `dead` their reason."""
    assert [name for name, _ in results] == [name for name, _ in todo]
    for number, (_, pixels) in enumerate(results):
        if number in dead:
            assert pixels == dead[number]
        else:
            assert isinstance(pixels, tuple)
            assert np.unique(pixels[0].reshape(-1, 3), axis=0).tolist() == [[number % 256, number // 256, 7]]


@pytest.mark.parametrize("workers", [1, 2])
def test_all_images_are_decoded_though_workers_are_killed_midway(workers: int) -> None:
    todo, results, n_killed = pictures(40 * CHUNK), [], 0
    for number, result in enumerate(decoded(todo, DECODER, workers)):
        results.append(result)
        if number in {3, 150}:
            n_killed += kill_decoders()
    assert n_killed >= 2
    assert_whole(todo, results, {})


@pytest.mark.slow
def test_all_images_are_decoded_though_workers_are_killed_any_time() -> None:
    todo, kills, is_over = pictures(60 * CHUNK), [], threading.Event()

    def kill_repeatedly() -> None:
        while not is_over.wait(1.0):
            if len(kills) < 4:
                kills.append(kill_decoders())

    killer = threading.Thread(target=kill_repeatedly)
    killer.start()
    try:
        results = []
        for result in decoded(todo, DECODER, 2):
            results.append(result)
            time.sleep(0.01)  # so that the run outlives some kills
    finally:
        is_over.set()
        killer.join()
    assert sum(kills) >= 2
    lost_results = {number: WORKER_DIED for number, (_, pixels) in enumerate(results) if pixels == WORKER_DIED}
    assert len(lost_results) <= len(kills)  # an image is given up only where the worker that had it alone was killed
    assert_whole(todo, results, lost_results)


@pytest.mark.parametrize("numbers", [[0], [20], [7, 8, 9], [71]])
def test_an_image_that_kills_its_worker_fails_alone(numbers: list[int]) -> None:
    todo = pictures(9 * CHUNK)
    for number in numbers:
        name, content = todo[number]
        assert isinstance(content, bytes)
        todo[number] = (name, DeadlyImage(content))
    assert_whole(todo, list(decoded(todo, DECODER, 2)), dict.fromkeys(numbers, WORKER_DIED))


@pytest.mark.parametrize(("deaths", "dead"), [(1, {}), (2, {}), (3, {5: WORKER_DIED})])
def test_an_image_fails_after_it_kills_two_workers_alone(tmp_path: Path, deaths: int, dead: dict[int, str]) -> None:
    todo = pictures(2 * CHUNK)
    name, content = todo[5]
    assert isinstance(content, bytes)
    unlucky = UnluckyImage(content)
    unlucky.folder = str(tmp_path)
    todo[5] = (name, unlucky)
    for number in range(deaths):
        (tmp_path / str(number)).touch()
    assert_whole(todo, list(decoded(todo, DECODER, 2)), dead)
    assert not list(tmp_path.iterdir())


def test_workers_are_reused_even_after_an_unfinished_run() -> None:
    assert len(list(decoded(pictures(3), DECODER, 2))) == 3
    workers = set(decoders_of(os.getpid()))
    unfinished = decoded(pictures(20 * CHUNK), DECODER, 2)
    next(unfinished)
    unfinished.close()
    todo = pictures(5 * CHUNK)
    assert_whole(todo, list(decoded(todo, DECODER, 2)), {})
    assert len(workers) >= 2
    assert set(decoders_of(os.getpid())) == workers


def test_idle_workers_end_and_new_ones_start_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "IDLE_S", 0.2)
    todo, started_pids, earlier_pids = pictures(3 * CHUNK), set(), set(decoders_of(os.getpid()))
    for pause in (0.18, 0.19, 0.2, 0.21, 0.22, 0.2):
        assert_whole(todo, list(decoded(todo, DECODER, 3)), {})
        started_pids |= set(decoders_of(os.getpid())) - earlier_pids
        time.sleep(pause)  # as long as workers rest before they end, or about
    end = time.monotonic() + 20
    while started_pids & set(decoders_of(os.getpid())) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(started_pids) >= 3
    assert not started_pids & set(decoders_of(os.getpid()))


def test_other_object_store_settings_use_other_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(decoded(pictures(3), DECODER, 2))) == 3
    workers = set(decoders_of(os.getpid()))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert len(list(decoded(pictures(3), DECODER, 2))) == 3
    assert set(decoders_of(os.getpid())) - workers


def test_images_are_read_only_a_little_ahead() -> None:
    n_read = 0

    def todo() -> Iterator[tuple[str, ImageSource]]:
        nonlocal n_read
        for image in pictures(50 * CHUNK):
            n_read += 1
            yield image

    results = decoded(todo(), DECODER, 2)
    next(results)
    assert n_read <= 6 * CHUNK
    results.close()


@pytest.mark.slow  # takes 2 GB
def test_an_image_that_cannot_be_resized_fails_with_a_reason() -> None:
    strip = np.zeros((68_000_000, 1), dtype=np.uint8)
    squash = Decoder(Decoding(), (Preprocessing(size_px=16, resize="squash", mean=HALF, std=HALF),))
    assert squash.decode(digest(strip), strip) == "cannot be resized: MemoryError"


def test_an_extraction_stores_the_same_vectors_if_workers_are_killed(home: Path) -> None:
    make_images(home / "images", n_each=100)
    (home / "calm.toml").write_text(TOY_RECIPE + '\n[paths]\ncache = "calm"\nruns = "runs"\n')
    (home / "hit.toml").write_text(TOY_RECIPE + PLACES)
    n_killed = 0

    def kill_on_progress(stage: str, n_done: int, total: int, note: str = "") -> None:
        nonlocal n_killed
        if stage.startswith("embed") and n_done < total / 2:
            n_killed += kill_decoders()

    extract("calm.toml")
    extraction = extract("hit.toml", progress=kill_on_progress)

    assert n_killed > 0
    assert (extraction.n_embedded, extraction.n_unreadable, extraction.failures) == (200, 0, [])
    assert stored_rows(Study.open("hit.toml")) == stored_rows(Study.open("calm.toml"))


SCRIPT = """
from featx import extract
from tests.conftest import TOY_RECIPE
from tests.workers import CHUNK, decoded
done = extract("featx.toml")
print(done.n_embedded, done.n_unreadable)
"""


def test_a_script_needs_no_main_guard(toy_home: Path) -> None:
    (toy_home / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (script.returncode, script.stdout, script.stderr) == (0, "48 0\n", "")


WAITING = """
import sys, time
import tests.conftest
from featx import extract
def progress(stage, done, total, note=""):
    if stage.startswith("embed") and done:
        print("embedding", flush=True)
        time.sleep(600)
extract("featx.toml", progress=progress)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_soon_after_their_parent_is_killed(home: Path, sign: signal.Signals) -> None:
    make_images(home / "images", n_each=200)
    (home / "featx.toml").write_text(TOY_RECIPE)
    script = start_script(WAITING, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert script.stdout is not None
    try:
        assert script.stdout.readline() == "embedding\n"
        workers = decoders_of(script.pid)
        assert workers
    finally:
        script.send_signal(sign)
        script.communicate(timeout=30)
    assert wait_until(lambda: not any(map(is_running, workers)))
