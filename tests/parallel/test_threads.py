"""The number of threads of BLAS and OpenMP, and results that do not depend on it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from featx.parallel.threads import available_cores, cores_limited_to, run_side_by_side, single_threaded
from featx.registry import HEADS
from tests.processes import killed_at_end, start_script

SENSITIVE_HEADS = ("ridge", "mlp")  # under OMP_NUM_THREADS=1 and =2, before fits decided their threads


def thread_counts() -> list[int]:
    """Return the number of threads of each library, for the calling thread."""
    return [library["num_threads"] for library in threadpool_info()]


def model_digests(heads: Sequence[str], n_threads: int, *, busy: bool = False) -> dict[str, Any]:
    """Return model_digests of models that a process fits whose environment sets a number of threads."""
    environment = os.environ | {name: str(n_threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-m", "tests.heads.thread_cases", *heads]
    with ExitStack() as spinning:
        for _ in range(os.cpu_count() or 1) if busy else ():
            spinning.enter_context(killed_at_end(start_script("while True: pass")))
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output))


def test_the_environments_threads_do_not_change_what_is_written() -> None:
    assert model_digests(SENSITIVE_HEADS, 1) == model_digests(SENSITIVE_HEADS, 2)


@pytest.mark.slow
def test_no_head_depends_on_threads_or_on_busy_cores() -> None:
    expected, under_load = model_digests(HEADS.names(), 1), model_digests(HEADS.names(), 2, busy=True)
    assert expected == under_load


def test_a_block_uses_one_thread_and_restores_the_number() -> None:
    with threadpool_limits(2):
        counts_before = thread_counts()
        with single_threaded():
            assert set(thread_counts()) == {1}
            with single_threaded():
                pass
            assert set(thread_counts()) == {1}
        assert thread_counts() == counts_before


def test_blocks_that_overlap_in_threads_keep_their_limit() -> None:
    """The first thread leaves its block while the second one is still inside."""
    entry_barrier, exit_barrier = Barrier(2), Barrier(2)

    def leave_first() -> None:
        with single_threaded():
            entry_barrier.wait()
        exit_barrier.wait()

    def leave_last() -> list[int]:
        with single_threaded():
            entry_barrier.wait()
            exit_barrier.wait()
            return thread_counts()

    with threadpool_limits(2):
        counts_before = thread_counts()
        with ThreadPoolExecutor(2) as threads:
            first_future, last_future = threads.submit(leave_first), threads.submit(leave_last)
            first_future.result()
            assert set(last_future.result()) == {1}
        assert thread_counts() == counts_before


@pytest.mark.parametrize("n_cores", [1, 2, 8])
@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_items_share_the_cores_and_keep_their_order(n_cores: int, at_once: int | None) -> None:
    def run(item: int) -> tuple[int, int, set[int]]:
        time.sleep(0.01 * (item == 0))
        return item, available_cores(), set(thread_counts())

    with cores_limited_to(n_cores):
        results = list(run_side_by_side(run, range(5), at_once=at_once))
    n_workers = min(n_cores, at_once or 5, 5)
    assert results == [(item, max(1, n_cores // n_workers), {1}) for item in range(5)]
    assert n_workers * results[0][1] <= n_cores


def test_an_error_in_one_item_is_raised_and_limits_are_given_back() -> None:
    with threadpool_limits(2):
        counts_before = thread_counts()
        with cores_limited_to(2), pytest.raises(ZeroDivisionError):
            list(run_side_by_side(lambda item: 1 // item, [1, 0, 1]))
        assert thread_counts() == counts_before


def test_one_product_has_the_same_bits_under_any_limit() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 700)), rng.normal(size=(700, 300))
    products = []
    for n_threads in (1, 2, 4):
        with threadpool_limits(n_threads), single_threaded():
            products.append((a @ b).tobytes())
    assert len(set(products)) == 1
