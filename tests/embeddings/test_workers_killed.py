"""Workers that die, are killed, or are left alone: no image is lost or done twice, and no worker stays behind."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx import extract
from featx.embeddings import workers as workers_module
from featx.embeddings.workers import DIED, Decoder, Place
from featx.images.contents import digest
from featx.specs.embedding import Decoding, Preprocessing
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.rows import stored_rows
from tests.workers import CHUNK, decoded

HALF = (0.5, 0.5, 0.5)
DECODER = Decoder(Decoding(), (Preprocessing(size_px=16, mean=HALF, std=HALF),))
PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
Todo = list[tuple[str, Place]]


class Deadly(bytes):
    """A picture that kills the process to which it is sent."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return signal.raise_signal, (int(signal.SIGKILL),)


class Unlucky(bytes):
    """A picture that kills the process to which it is sent as many times as there are files in a folder."""

    folder: str

    def __reduce__(self) -> tuple[object, tuple[str]]:
        flags = f"list(__import__('pathlib').Path({self.folder!r}).iterdir())[:1]"
        death = f"[(flag.unlink(), __import__('signal').raise_signal({int(signal.SIGKILL)})) for flag in {flags}]"
        return eval, (f"({death}, {bytes(self)!r})[1]",)


def pictures(n: int) -> Todo:
    """Return n pictures of one colour each, which is their number."""
    found: Todo = []
    for number in range(n):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 18), (number % 256, number // 256, 7)).save(buffer, "PNG")
        found.append((digest(buffer.getvalue()), buffer.getvalue()))
    return found


def children(parent: int) -> list[int]:
    """Return the worker processes of a process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            is_child = f"\nPPid:\t{parent}\n" in status.read_text()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if is_child and b"popen_loky" in command:
            found.append(int(status.parent.name))
    return found


def kill_workers() -> int:
    """Kill the workers of this process; return how many were still there."""
    n_killed = 0
    for worker in children(os.getpid()):
        with suppress(ProcessLookupError):  # it ended since it was listed
            os.kill(worker, signal.SIGKILL)
            n_killed += 1
    return n_killed


def is_running(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def assert_whole(todo: Todo, found: list[tuple[str, object]], dead: dict[int, str]) -> None:
    """Each picture came out once, in its place, with its own colour; those of `dead` with their reason."""
    assert [name for name, _ in found] == [name for name, _ in todo]
    for number, (_, pixels) in enumerate(found):
        if number in dead:
            assert pixels == dead[number]
        else:
            assert isinstance(pixels, tuple)
            assert np.unique(pixels[0].reshape(-1, 3), axis=0).tolist() == [[number % 256, number // 256, 7]]


@pytest.mark.parametrize("workers", [1, 2])
def test_images_come_out_though_their_workers_are_killed_in_the_middle(workers: int) -> None:
    todo, found, n_killed = pictures(40 * CHUNK), [], 0
    for number, one in enumerate(decoded(todo, DECODER, workers)):
        found.append(one)
        if number in {3, 150}:
            n_killed += kill_workers()
    assert n_killed >= 2
    assert_whole(todo, found, {})


def test_images_come_out_though_workers_are_killed_at_any_time() -> None:
    todo, kills, over = pictures(60 * CHUNK), [], threading.Event()

    def murder() -> None:
        while not over.wait(1.0):
            if len(kills) < 4:
                kills.append(kill_workers())

    killer = threading.Thread(target=murder)
    killer.start()
    try:
        found = []
        for one in decoded(todo, DECODER, 2):
            found.append(one)
            time.sleep(0.01)  # so that the run outlives some kills
    finally:
        over.set()
        killer.join()
    assert sum(kills) >= 2
    dead = {number: DIED for number, (_, pixels) in enumerate(found) if pixels == DIED}
    assert len(dead) <= len(kills)  # an image is given up only where the worker that had it alone was killed
    assert_whole(todo, found, dead)


@pytest.mark.parametrize("at", [[0], [20], [7, 8, 9], [71]])
def test_an_image_that_kills_its_worker_costs_itself_and_nothing_else(at: list[int]) -> None:
    todo = pictures(9 * CHUNK)
    for number in at:
        name, content = todo[number]
        assert isinstance(content, bytes)
        todo[number] = (name, Deadly(content))
    assert_whole(todo, list(decoded(todo, DECODER, 2)), dict.fromkeys(at, DIED))


@pytest.mark.parametrize(("deaths", "dead"), [(1, {}), (2, {}), (3, {5: DIED})])
def test_an_image_is_given_up_when_a_new_worker_that_had_nothing_else_died_of_it(
    tmp_path: Path, deaths: int, dead: dict[int, str]
) -> None:
    todo = pictures(2 * CHUNK)
    name, content = todo[5]
    assert isinstance(content, bytes)
    unlucky = Unlucky(content)
    unlucky.folder = str(tmp_path)
    todo[5] = (name, unlucky)
    for number in range(deaths):
        (tmp_path / str(number)).touch()
    assert_whole(todo, list(decoded(todo, DECODER, 2)), dead)
    assert not list(tmp_path.iterdir())


def test_the_workers_of_one_run_serve_the_next_though_it_was_left_half_way() -> None:
    assert len(list(decoded(pictures(3), DECODER, 2))) == 3
    workers = set(children(os.getpid()))
    some = decoded(pictures(20 * CHUNK), DECODER, 2)
    next(some)
    some.close()
    todo = pictures(5 * CHUNK)
    assert_whole(todo, list(decoded(todo, DECODER, 2)), {})
    assert len(workers) >= 2
    assert set(children(os.getpid())) == workers


def test_idle_workers_end_and_new_ones_come_whenever_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "IDLE_S", 0.2)
    todo, started, others = pictures(3 * CHUNK), set(), set(children(os.getpid()))
    for pause in (0.18, 0.19, 0.2, 0.21, 0.22, 0.2):
        assert_whole(todo, list(decoded(todo, DECODER, 3)), {})
        started |= set(children(os.getpid())) - others
        time.sleep(pause)  # as long as workers rest before they end, or about
    end = time.monotonic() + 20
    while started & set(children(os.getpid())) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(started) >= 3
    assert not started & set(children(os.getpid()))


def test_other_settings_of_an_object_store_mean_other_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(decoded(pictures(3), DECODER, 2))) == 3
    workers = set(children(os.getpid()))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert len(list(decoded(pictures(3), DECODER, 2))) == 3
    assert set(children(os.getpid())) - workers


def test_todo_is_asked_for_only_as_far_as_it_is_needed() -> None:
    asked = 0

    def todo() -> Iterator[tuple[str, Place]]:
        nonlocal asked
        for one in pictures(50 * CHUNK):
            asked += 1
            yield one

    found = decoded(todo(), DECODER, 2)
    next(found)
    assert asked <= 6 * CHUNK
    found.close()


@pytest.mark.slow  # takes 2 GB
def test_a_picture_that_cannot_be_resized_is_an_outcome() -> None:
    strip = np.zeros((68_000_000, 1), dtype=np.uint8)
    squash = Decoder(Decoding(), (Preprocessing(size_px=16, resize="squash", mean=HALF, std=HALF),))
    assert squash.decoded(digest(strip), strip) == "cannot be resized: MemoryError"


def test_an_extraction_whose_workers_are_killed_stores_what_an_unharmed_one_does(home: Path) -> None:
    make_images(home / "images", n_each=100)
    (home / "calm.toml").write_text(TOY_RECIPE + '\n[paths]\ncache = "calm"\nruns = "runs"\n')
    (home / "hit.toml").write_text(TOY_RECIPE + PLACES)
    n_killed = 0

    def murderous(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal n_killed
        if stage.startswith("embed") and done < total / 2:
            n_killed += kill_workers()

    extract("calm.toml")
    done = extract("hit.toml", progress=murderous)

    assert n_killed > 0
    assert (done.n_embedded, done.n_unreadable, done.failures) == (200, 0, [])
    assert stored_rows(Study.open("hit.toml")) == stored_rows(Study.open("calm.toml"))


SCRIPT = """
from featx import extract
from tests.conftest import TOY_RECIPE
from tests.workers import CHUNK, decoded
done = extract("featx.toml")
print(done.n_embedded, done.n_unreadable)
"""


def started(home: Path, script: str) -> "subprocess.Popen[str]":
    """Start a script in a folder, with what the tests share within its reach."""
    (home / "script.py").write_text(script)
    root = str(Path(__file__).parents[2])
    environment = {name: text for name, text in os.environ.items() if not name.startswith("FEATX_")}
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=home,
        env=environment | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_script_needs_no_main_guard(toy_home: Path) -> None:
    script = started(toy_home, SCRIPT)
    said, complaints = script.communicate(timeout=120)
    assert (script.returncode, said, complaints) == (0, "48 0\n", "")


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
    script = started(home, WAITING)
    assert script.stdout is not None
    try:
        assert script.stdout.readline() == "embedding\n"
        workers = children(script.pid)
        assert workers
    finally:
        script.send_signal(sign)
        script.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [worker for worker in workers if is_running(worker)]
