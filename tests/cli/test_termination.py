"""A terminated command removes its unfinished files, ends its workers and exits with 143."""

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.processes import decoders_of, killed_at_end, start_script, wait_until

PREDICT = """
import signal, sys, time
# Ctrl-C is ignored in processes that a shell starts in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
import tests.conftest
from featx.cli.main import main
from featx.predictors import loading

def wait(*arguments, **options):
    print("waiting", flush=True)
    time.sleep(600)
    yield {}

loading.predict_batches = wait
sys.argv = ["featx", "predict", "images", "--output", "predictions.csv"]
main()
"""


EXTRACT = """
import sys, time
import tests.conftest
import featx
from featx.cli.main import main

extract = featx.extract

def wait(stage, done, total, note=""):
    if stage.startswith("embed") and done:
        print("embedding", flush=True)
        time.sleep(600)

featx.extract = lambda recipe, **options: extract(recipe, **options | {"progress": wait})
sys.argv = ["featx", "extract"]
main()
"""


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_terminated_command_leaves_no_unfinished_file(toy_home: Path, sign: signal.Signals, code: int) -> None:
    with killed_at_end(start_script(PREDICT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        assert list(Path().glob(".predictions.csv.*"))
        process.send_signal(sign)
        _, error_text = process.communicate(timeout=60)
    assert process.returncode == code
    assert error_text.endswith("interrupted; what was done is kept\n")
    assert not list(Path().glob("*predictions.csv*"))


def test_workers_end_with_a_terminated_command(toy_home: Path) -> None:
    with killed_at_end(start_script(EXTRACT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "embedding\n"
        workers = decoders_of(process.pid)
        assert workers
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert wait_until(lambda: not any(map(psutil.pid_exists, workers)))
