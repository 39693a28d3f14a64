"""Models predict in forked processes too, and in workers of pools, which may not start processes.

Modules: embeddings.workers.
"""

import subprocess
from pathlib import Path

import pytest

from featx import extract, fit
from tests.processes import killed_at_end, start_script

MAX_WAIT_S = 60
PATH = "images/light/000.png"
LOAD = """
import multiprocessing, os, signal, sys
import tests.conftest
import torch
from featx import load

def predict(path):
    return model.predict_images(path, device="cpu").labels

model = load(sys.argv[1])
"""
FORK = """
print(predict(sys.argv[2]), flush=True)
child = os.fork()
if not child:
    signal.alarm(30)
    print(predict(sys.argv[2]), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(predict(sys.argv[2]))
"""
POOL = """
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map(predict, [sys.argv[2]])[0])
"""
THREADS = """
import os, signal
import featx.networks.features, torch
torch.set_num_threads(2)
x = torch.ones(4_000_000)
print(x.exp().amax().item(), flush=True)
child = os.fork()
if not child:
    signal.alarm(30)
    print(x.exp().amax().item(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def printed(code: str, *arguments: str) -> list[str]:
    """Return the lines that Python code prints, if it ends in time; a signal ends its forked process, if that hangs."""
    with killed_at_end(start_script(code, *arguments, stdout=subprocess.PIPE)) as process:
        return process.communicate(timeout=MAX_WAIT_S)[0].splitlines()


@pytest.fixture
def head(toy_home: Path) -> str:
    """The folder of one head."""
    extract()
    return str(fit(heads=["logreg"], trials=1)[0].path)


def test_a_model_predicts_after_a_fork(head: str) -> None:
    assert printed(LOAD + FORK, head, PATH) == ["['light']"] * 3


def test_a_model_predicts_in_a_worker_of_a_pool(head: str) -> None:
    assert printed(LOAD + POOL, head, PATH) == ["['light']"]


def test_torch_computes_after_a_fork() -> None:
    first, second = printed(THREADS)

    assert first == second
