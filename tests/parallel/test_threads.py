"""The number of threads of BLAS and OpenMP: one decision, and results that do not depend on it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from featx.parallel.threads import available_cores, cores_limited_to, run_side_by_side, single_threaded
from featx.registry import HEADS

HEADS_THAT_DIFFERED = ("ridge", "mlp")  # under OMP_NUM_THREADS=1 and =2, before fits decided their threads


def numbers_of_threads() -> list[int]:
    """Return those of all libraries, as the calling thread sees them."""
    return [one["num_threads"] for one in threadpool_info()]


def digests(heads: Sequence[str], n_threads: int, *, busy: bool = False) -> dict[str, Any]:
    """Return what a process learns whose environment asks for some threads."""
    environment = os.environ | {name: str(n_threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-m", "tests.heads.thread_cases", *heads]
    spinning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1) if busy
    ]
    try:
        found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    return dict(json.loads(found))


def test_the_environments_threads_do_not_change_what_is_written() -> None:
    assert digests(HEADS_THAT_DIFFERED, 1) == digests(HEADS_THAT_DIFFERED, 2)


@pytest.mark.slow
def test_no_head_depends_on_threads_or_on_busy_cores() -> None:
    one, two = digests(HEADS.names(), 1), digests(HEADS.names(), 2, busy=True)
    assert one == two


def test_a_block_has_one_thread_and_gives_back_what_there_was() -> None:
    with threadpool_limits(2):
        before = numbers_of_threads()
        with single_threaded():
            assert set(numbers_of_threads()) == {1}
            with single_threaded():
                pass
            assert set(numbers_of_threads()) == {1}
        assert numbers_of_threads() == before


def test_blocks_that_overlap_in_threads_keep_their_limit() -> None:
    """The first thread leaves its block while the second one is still inside."""
    inside, left = Barrier(2), Barrier(2)

    def leave_first() -> None:
        with single_threaded():
            inside.wait()
        left.wait()

    def leave_last() -> list[int]:
        with single_threaded():
            inside.wait()
            left.wait()
            return numbers_of_threads()

    with threadpool_limits(2):
        before = numbers_of_threads()
        with ThreadPoolExecutor(2) as threads:
            first, last = threads.submit(leave_first), threads.submit(leave_last)
            first.result()
            assert set(last.result()) == {1}
        assert numbers_of_threads() == before


@pytest.mark.parametrize("n_cores", [1, 2, 8])
@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_items_share_the_cores_and_keep_their_order(n_cores: int, at_once: int | None) -> None:
    def run(item: int) -> tuple[int, int, set[int]]:
        time.sleep(0.01 * (item == 0))
        return item, available_cores(), set(numbers_of_threads())

    with cores_limited_to(n_cores):
        found = list(run_side_by_side(run, range(5), at_once=at_once))
    n_workers = min(n_cores, at_once or 5, 5)
    assert found == [(item, max(1, n_cores // n_workers), {1}) for item in range(5)]
    assert n_workers * found[0][1] <= n_cores


def test_an_error_in_one_item_is_raised_and_limits_are_given_back() -> None:
    with threadpool_limits(2):
        before = numbers_of_threads()
        with cores_limited_to(2), pytest.raises(ZeroDivisionError):
            list(run_side_by_side(lambda item: 1 // item, [1, 0, 1]))
        assert numbers_of_threads() == before


def test_one_product_has_the_same_bits_under_any_limit() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 700)), rng.normal(size=(700, 300))
    found = []
    for n_threads in (1, 2, 4):
        with threadpool_limits(n_threads), single_threaded():
            found.append((a @ b).tobytes())
    assert len(set(found)) == 1
